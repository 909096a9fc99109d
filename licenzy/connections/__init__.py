"""Stripe connections: the merchant's Stripe credentials, one set per project and mode."""
