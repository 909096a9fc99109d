"""Checkout attempts, the Stripe Checkout Sessions created for them, and customer portal sessions."""
