"""Reconciliation with Stripe."""
