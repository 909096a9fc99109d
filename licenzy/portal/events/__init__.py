"""Stripe's events as received."""
