"""Purchases as Stripe sends them, made from a seed: the events in order, and what is right in the end."""
