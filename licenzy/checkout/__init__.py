"""Selling: checkout attempts and the Stripe Checkout sessions they open."""
