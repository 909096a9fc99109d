"""Invoices and the payments on them."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.shapes.invoice_lines import listed, sums
from licenzy.stripe_sandbox.version import Json

DRAFT_SECONDS = 3600
"""How long a draft waits until it is finalized."""


def invoice(
    session: AccountStore,
    *,
    customer: Json,
    currency: str,
    billing_reason: str,
    period: Json,
    subscription: Json | None,
    collection_method: str,
    days_until_due: int | None,
) -> Json:
    """A draft without lines. `period` is what the invoice itself calls its period: the one before the one
    that a subscription's lines charge for."""
    invoice_id = new_id("in_1")
    taxed = subscription is not None and subscription["automatic_tax"]["enabled"]
    return {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": session.account.name,
        "account_tax_ids": None,
        **sums([], balance=customer["balance"]),
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": taxed,
            "liability": {"type": "self"} if taxed else None,
            "provider": "stripe" if taxed else None,
            "status": "complete" if taxed else None,
        },
        "automatically_finalizes_at": session.now + DRAFT_SECONDS,
        "billing_reason": billing_reason,
        "collection_method": collection_method,
        "created": session.now,
        "currency": currency,
        "custom_fields": None,
        "customer": customer["id"],
        "customer_account": None,
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": None,
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        **listed([], invoice_id),
        "livemode": session.account.livemode,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": _parent(subscription),
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": period["end"],
        "period_start": period["start"],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "test_clock": None,
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
        "_days_until_due": days_until_due,
        "_overdue": False,
    }


def invoice_payment(session: AccountStore, invoice: Json, *, intent: str, status: str) -> Json:
    paid = status == "paid"
    return {
        "id": new_id("inpay_1"),
        "object": "invoice_payment",
        "amount_paid": invoice["amount_due"] if paid else None,
        "amount_requested": invoice["amount_due"],
        "created": session.now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": session.account.livemode,
        "payment": {"payment_intent": intent, "type": "payment_intent"},
        "status": status,
        "status_transitions": {"canceled_at": None, "paid_at": session.now if paid else None},
    }


def _parent(subscription: Json | None) -> Json | None:
    if subscription is None:
        return None
    return {
        "quote_details": None,
        "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
        "type": "subscription_details",
    }
