"""Where Stripe sends buyers back to."""
