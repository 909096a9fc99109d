"""Webhooks out: the merchant's endpoints, the events for them, and how these are delivered."""
