"""Invoices of subscriptions, their lines and payments."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.shapes.catalog import amount_of
from licenzy.stripe_sandbox.version import Json


def invoice(
    session: AccountSession,
    subscription: Json,
    *,
    customer: Json,
    billing_reason: str,
    free: bool,
    lines: list[Json],
    ended_period: Json,
) -> Json:
    """A draft for a subscription's items. `lines` are one-time prices that the first invoice takes along;
    `ended_period` is what the invoice itself calls its period, the one before the one it charges for."""
    invoice_id = new_id("in_1")
    items = [
        _subscription_line(session, invoice_id, subscription, item, free)
        for item in subscription["items"]["data"]
    ]
    items += [_one_time_line(session, invoice_id, subscription, line) for line in lines]
    total = sum(line["amount"] for line in items)
    return {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": session.account.name,
        "account_tax_ids": None,
        "amount_due": total,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": total,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": subscription["automatic_tax"]["enabled"],
            "liability": subscription["automatic_tax"]["liability"],
            "provider": "stripe" if subscription["automatic_tax"]["enabled"] else None,
            "status": "complete" if subscription["automatic_tax"]["enabled"] else None,
        },
        "automatically_finalizes_at": session.now + 3600,
        "billing_reason": billing_reason,
        "collection_method": "charge_automatically",
        "created": session.now,
        "currency": subscription["currency"],
        "custom_fields": None,
        "customer": subscription["customer"],
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
        "lines": {
            "object": "list",
            "data": items,
            "has_more": False,
            "total_count": len(items),
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": session.account.livemode,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": subscription["metadata"],
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": ended_period["end"],
        "period_start": ended_period["start"],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "test_clock": None,
        "total": total,
        "total_discount_amounts": [],
        "total_excluding_tax": total,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def invoice_payment(session: AccountSession, invoice: Json, *, intent: str, status: str) -> Json:
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


def _subscription_line(
    session: AccountSession, invoice_id: str, subscription: Json, item: Json, free: bool
) -> Json:
    quantity = item.get("quantity", 0)
    return {
        **_line(
            session, invoice_id, item["price"], quantity, 0 if free else amount_of(item["price"], quantity)
        ),
        "metadata": subscription["metadata"],
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "subscription": subscription["id"],
    }


def _one_time_line(session: AccountSession, invoice_id: str, subscription: Json, line: Json) -> Json:
    price, quantity = line["price"], line["quantity"]
    return {
        **_line(session, invoice_id, price, quantity, amount_of(price, quantity)),
        "metadata": {},
        "parent": {
            "invoice_item_details": {
                "invoice_item": new_id("ii_1"),
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "period": {"end": session.now, "start": session.now},
        "subscription": subscription["id"],
    }


def _line(session: AccountSession, invoice_id: str, price: Json, quantity: int, amount: int) -> Json:
    return {
        "id": new_id("il_1"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": f"{quantity} × {price['nickname'] or price['id']}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": session.account.livemode,
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "subtotal": amount,
        "taxes": [],
    }
