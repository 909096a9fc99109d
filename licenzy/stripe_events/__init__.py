"""The inbox: Stripe's events verified, kept, and turned into facts."""
