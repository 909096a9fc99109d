"""Stripe connections: the merchant's credentials at Stripe, one set per project and mode."""
