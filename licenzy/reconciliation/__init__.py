"""Reconciliation: walk Stripe, and feed what was missed through the inbox."""
