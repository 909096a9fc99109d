"""Subscriptions and their items."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.shapes.catalog import plan
from licenzy.stripe_sandbox.version import Json


def subscription(
    session: AccountStore,
    *,
    customer: str,
    lines: list[Json],
    metadata: Json,
    description: str | None,
    automatic_tax: bool,
    payment_method: str | None,
    collection_method: str = "charge_automatically",
    days_until_due: int | None = None,
    end_without_card: str = "create_invoice",
    has_card: bool = True,
    billing_mode: str = "flexible",
) -> Json:
    """`lines` are price, quantity and perhaps metadata. Its period and status are the lifecycle's to set."""
    subscription_id = new_id("sub_1")
    items = [new_item(session, subscription_id, **line) for line in lines]
    return {
        "id": subscription_id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": automatic_tax,
            "liability": {"type": "self"} if automatic_tax else None,
        },
        "billing_cycle_anchor": session.now,
        "billing_cycle_anchor_config": None,
        "billing_mode": {
            "flexible": {"proration_discounts": "included"} if billing_mode == "flexible" else None,
            "type": billing_mode,
        },
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": collection_method,
        "created": session.now,
        "currency": lines[0]["price"]["currency"],
        "customer": customer,
        "customer_account": None,
        "days_until_due": days_until_due,
        "default_payment_method": payment_method,
        "default_source": None,
        "default_tax_rates": [],
        "description": description,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": items,
            "has_more": False,
            "total_count": len(items),
            "url": f"/v1/subscription_items?subscription={subscription_id}",
        },
        "latest_invoice": None,
        "livemode": session.account.livemode,
        "managed_payments": None,
        "metadata": metadata,
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": session.now,
        "status": "incomplete",
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": end_without_card}},
        "trial_start": None,
        "_card_fails": False,
        "_has_card": has_card,
        "_trial_warned": False,
    }


def price_fields(price: Json) -> Json:
    """The two places where an item shows its price."""
    shown = {k: v for k, v in price.items() if not k.startswith("_")}
    return {"price": shown, "plan": plan(price)}


def new_item(
    session: AccountStore,
    subscription_id: str,
    *,
    price: Json,
    quantity: int,
    metadata: Json | None = None,
) -> Json:
    """An item whose period is the lifecycle's to set. One of a metered price has no quantity."""
    item = {
        "id": new_id("si_", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": session.now,
        "current_period_end": session.now,
        "current_period_start": session.now,
        "discounts": [],
        "metadata": metadata or {},
        **price_fields(price),
        "subscription": subscription_id,
        "tax_rates": [],
    }
    if (price["recurring"] or {}).get("usage_type") != "metered":
        item["quantity"] = quantity
    return item
