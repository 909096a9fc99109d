"""Builds Stripe's Product, Price and Plan objects as the sandbox stores and sends them."""

from __future__ import annotations

from decimal import Decimal

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.version import Json


def product(session: AccountStore, params: Json) -> Json:
    return {
        "id": params.get("id") or new_id("prod_", 14),
        "object": "product",
        "active": params.get("active", True),
        "created": session.now,
        "default_price": None,
        "description": params.get("description"),
        "images": params.get("images") or [],
        "livemode": session.account.livemode,
        "marketing_features": [],
        "metadata": params.get("metadata") or {},
        "name": params["name"],
        "package_dimensions": None,
        "shippable": params.get("shippable"),
        "statement_descriptor": params.get("statement_descriptor"),
        "tax_code": params.get("tax_code"),
        "type": params.get("type") or "service",
        "unit_label": params.get("unit_label"),
        "updated": session.now,
        "url": params.get("url"),
    }


def price(session: AccountStore, params: Json, *, product_id: str) -> Json:
    amount, amount_decimal = _amounts(params)
    return {
        "id": new_id("price_1"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": session.now,
        "currency": params["currency"],
        "custom_unit_amount": _custom(params.get("custom_unit_amount")),
        "livemode": session.account.livemode,
        "lookup_key": params.get("lookup_key"),
        "metadata": params.get("metadata") or {},
        "nickname": params.get("nickname"),
        "product": product_id,
        "recurring": _recurring(params.get("recurring")),
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": params.get("tiers_mode"),
        "transform_quantity": params.get("transform_quantity"),
        "type": "recurring" if params.get("recurring") else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": amount_decimal,
        "_tiers": [_tier(t) for t in params.get("tiers", [])],
    }


def plan(price: Json) -> Json:
    """The price as subscription items still show it next to `price`."""
    recurring = price["recurring"] or {}
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring.get("interval"),
        "interval_count": recurring.get("interval_count"),
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "meter": recurring.get("meter"),
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": recurring.get("usage_type"),
    }


def amount_of(price: Json, quantity: int) -> int:
    """What `quantity` of this price costs, in the smallest unit of its currency.

    0 for tiered and metered prices, which are not implemented.
    """
    if price["unit_amount_decimal"] is None or (price["recurring"] or {}).get("usage_type") == "metered":
        return 0
    packages = price.get("transform_quantity")
    if packages:
        whole, rest = divmod(quantity, packages["divide_by"])
        quantity = whole + (1 if rest and packages["round"] == "up" else 0)
    return int((Decimal(price["unit_amount_decimal"]) * quantity).to_integral_value())


def _amounts(params: Json) -> tuple[int | None, str | None]:
    if "unit_amount" in params:
        return params["unit_amount"], str(params["unit_amount"])
    if "unit_amount_decimal" not in params:
        return None, None
    exact: Decimal = params["unit_amount_decimal"]
    return (int(exact) if exact == exact.to_integral_value() else None), format(exact.normalize(), "f")


def _recurring(params: Json | None) -> Json | None:
    if not params:
        return None
    return {
        "interval": params["interval"],
        "interval_count": params.get("interval_count", 1),
        "meter": params.get("meter"),
        "trial_period_days": None,
        "usage_type": params.get("usage_type", "licensed"),
    }


def _custom(params: Json | None) -> Json | None:
    if not params or not params["enabled"]:
        return None
    return {
        "maximum": params.get("maximum"),
        "minimum": params.get("minimum"),
        "preset": params.get("preset"),
    }


def _tier(params: Json) -> Json:
    def exact(name: str) -> str | None:
        return None if params.get(name) is None else str(params[name])

    return {
        "flat_amount": params.get("flat_amount"),
        "flat_amount_decimal": exact("flat_amount"),
        "unit_amount": params.get("unit_amount"),
        "unit_amount_decimal": exact("unit_amount"),
        "up_to": None if params["up_to"] == "inf" else params["up_to"],
    }
