"""Bringing along the customers that a Stripe account has already: read, match, preview, run."""
