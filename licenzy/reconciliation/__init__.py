"""Reconciliation: syncs each Stripe account, and applies what was missed through the inbox."""
