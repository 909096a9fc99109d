"""Products and prices."""

from __future__ import annotations

from decimal import Decimal

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.version import Json


def product(session: AccountSession, asked: Json) -> Json:
    return {
        "id": asked.get("id") or new_id("prod_", 14),
        "object": "product",
        "active": asked.get("active", True),
        "created": session.now,
        "default_price": None,
        "description": asked.get("description"),
        "images": asked.get("images") or [],
        "livemode": session.account.livemode,
        "marketing_features": [],
        "metadata": asked.get("metadata") or {},
        "name": asked["name"],
        "package_dimensions": None,
        "shippable": asked.get("shippable"),
        "statement_descriptor": asked.get("statement_descriptor"),
        "tax_code": asked.get("tax_code"),
        "type": asked.get("type") or "service",
        "unit_label": asked.get("unit_label"),
        "updated": session.now,
        "url": asked.get("url"),
    }


def price(session: AccountSession, asked: Json, *, product_id: str) -> Json:
    amount, amount_decimal = _amounts(asked)
    return {
        "id": new_id("price_1"),
        "object": "price",
        "active": asked.get("active", True),
        "billing_scheme": asked.get("billing_scheme", "per_unit"),
        "created": session.now,
        "currency": asked["currency"],
        "custom_unit_amount": _custom(asked.get("custom_unit_amount")),
        "livemode": session.account.livemode,
        "lookup_key": asked.get("lookup_key"),
        "metadata": asked.get("metadata") or {},
        "nickname": asked.get("nickname"),
        "product": product_id,
        "recurring": _recurring(asked.get("recurring")),
        "tax_behavior": asked.get("tax_behavior", "unspecified"),
        "tiers_mode": asked.get("tiers_mode"),
        "transform_quantity": asked.get("transform_quantity"),
        "type": "recurring" if asked.get("recurring") else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": amount_decimal,
        "_tiers": [_tier(t) for t in asked.get("tiers", [])],
    }


def plan(of: Json) -> Json:
    """The price as subscription items still show it beside `price`."""
    recurring = of["recurring"] or {}
    return {
        "id": of["id"],
        "object": "plan",
        "active": of["active"],
        "amount": of["unit_amount"],
        "amount_decimal": of["unit_amount_decimal"],
        "billing_scheme": of["billing_scheme"],
        "created": of["created"],
        "currency": of["currency"],
        "interval": recurring.get("interval"),
        "interval_count": recurring.get("interval_count"),
        "livemode": of["livemode"],
        "metadata": of["metadata"],
        "meter": recurring.get("meter"),
        "nickname": of["nickname"],
        "product": of["product"],
        "tiers_mode": of["tiers_mode"],
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring.get("usage_type"),
    }


def amount_of(of: Json, quantity: int) -> int:
    """What `quantity` of this price costs, in the smallest unit of its currency; a tier's or a meter's is
    nothing yet."""
    if of["unit_amount_decimal"] is None or (of["recurring"] or {}).get("usage_type") == "metered":
        return 0
    return int((Decimal(of["unit_amount_decimal"]) * quantity).to_integral_value())


def _amounts(asked: Json) -> tuple[int | None, str | None]:
    if "unit_amount" in asked:
        return asked["unit_amount"], str(asked["unit_amount"])
    if "unit_amount_decimal" not in asked:
        return None, None
    exact: Decimal = asked["unit_amount_decimal"]
    return (int(exact) if exact == exact.to_integral_value() else None), format(exact.normalize(), "f")


def _recurring(asked: Json | None) -> Json | None:
    if not asked:
        return None
    return {
        "interval": asked["interval"],
        "interval_count": asked.get("interval_count", 1),
        "meter": asked.get("meter"),
        "trial_period_days": None,
        "usage_type": asked.get("usage_type", "licensed"),
    }


def _custom(asked: Json | None) -> Json | None:
    if not asked or not asked["enabled"]:
        return None
    return {"maximum": asked.get("maximum"), "minimum": asked.get("minimum"), "preset": asked.get("preset")}


def _tier(asked: Json) -> Json:
    def exact(name: str) -> str | None:
        return None if asked.get(name) is None else str(asked[name])

    return {
        "flat_amount": asked.get("flat_amount"),
        "flat_amount_decimal": exact("flat_amount"),
        "unit_amount": asked.get("unit_amount"),
        "unit_amount_decimal": exact("unit_amount"),
        "up_to": None if asked["up_to"] == "inf" else asked["up_to"],
    }
