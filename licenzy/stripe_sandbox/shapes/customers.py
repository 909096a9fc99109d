"""Customers."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.version import Json

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")


def customer(session: AccountStore, params: Json) -> Json:
    return {
        "id": new_id("cus_", 14),
        "object": "customer",
        "address": postal(params.get("address")),
        "balance": 0,
        "created": session.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": params.get("description"),
        "discount": None,
        "email": params.get("email"),
        "invoice_prefix": new_id("", 8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": session.account.livemode,
        "metadata": params.get("metadata") or {},
        "name": params.get("name"),
        "next_invoice_sequence": 1,
        "phone": params.get("phone"),
        "preferred_locales": params.get("preferred_locales") or [],
        "shipping": None,
        "tax_exempt": params.get("tax_exempt") or "none",
        "test_clock": None,
    }


def postal(params: Json | None) -> Json | None:
    """An address as Stripe shows it, every line present."""
    return None if not params else {name: params.get(name) for name in ADDRESS}
