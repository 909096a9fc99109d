"""Webhooks out: the merchant's endpoints, what they are told, and how it gets there."""
