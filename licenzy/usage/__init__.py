"""Consumption of usage packs: the ledger, the order in which packs are used, reservations."""
