"""The inbox: Stripe's events verified, stored, and turned into facts."""
