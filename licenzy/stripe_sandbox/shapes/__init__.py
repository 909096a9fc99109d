"""Stripe's objects, built whole: every field that Stripe sends stands in them, null where the sandbox has
nothing."""
