"""Stripe's HTTP API, a file per group of resources; importing this package fills the table of operations."""

from licenzy.stripe_sandbox.api import (
    account,
    catalog,
    customers,
    endpoints,
    events,
    invoice_items,
    invoices,
    payments,
    sessions,
    subscription_changes,
    subscription_items,
    subscriptions,
)
from licenzy.stripe_sandbox.api.table import OPERATIONS

__all__ = [
    "OPERATIONS",
    "account",
    "catalog",
    "customers",
    "endpoints",
    "events",
    "invoice_items",
    "invoices",
    "payments",
    "sessions",
    "subscription_changes",
    "subscription_items",
    "subscriptions",
]
