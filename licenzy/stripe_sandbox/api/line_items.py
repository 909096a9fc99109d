"""The line items of a new checkout session, refused in Stripe's words where a price cannot be sold."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.shapes.checkout import line_item
from licenzy.stripe_sandbox.version import Json

# Stripe's minimum charge, in the smallest unit; currencies without an entry are not checked.
_MINIMUM_CHARGE = {"usd": 50, "eur": 50, "gbp": 30, "chf": 50, "cad": 50, "aud": 50, "jpy": 50}


def line_items_for(account_store: AccountStore, params: Json) -> list[Json]:
    """The lines that a session sells."""
    data = params.get("subscription_data", {})
    trial = "trial_period_days" in data or "trial_end" in data
    lines = [
        _line(account_store, item, f"line_items[{n}]", trial) for n, item in enumerate(params["line_items"])
    ]
    if not lines:
        raise InvalidParameter(
            "Missing required param: line_items.", code="parameter_missing", param="line_items"
        )
    _validate_mode(params["mode"], lines)
    return lines


def _line(account_store: AccountStore, item: Json, name: str, trial: bool) -> Json:
    if "price" not in item:
        raise InvalidParameter(
            f"Missing required param: {name}[price].", code="parameter_missing", param=f"{name}[price]"
        )
    price = account_store.get("price", item["price"], param=f"{name}[price]")
    product = account_store.find("product", price["product"])
    if not price["active"]:
        raise RequestRefused(
            "The price specified is inactive. This field only accepts active prices.", param=f"{name}[price]"
        )
    if product is None or not product["active"]:
        raise RequestRefused(
            f"Price `{price['id']}` is not available to be purchased because its product is not active.",
            param=f"{name}[price]",
        )
    metered = (price["recurring"] or {}).get("usage_type") == "metered"
    if metered and "quantity" in item:
        raise RequestRefused(
            f"Quantity should not be specified where usage_type is `metered`. Remove quantity from `{name}`"
        )
    if not metered and "quantity" not in item:
        raise InvalidParameter(f"Quantity is required. Add `quantity` to `{name}`", param=f"{name}[quantity]")
    quantity, adjustable = item.get("quantity", 1), item.get("adjustable_quantity")
    if quantity < 1:
        raise InvalidParameter(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param=f"{name}[quantity]",
        )
    return line_item(price, product, quantity=quantity, adjustable=adjustable, free=trial)


def _validate_mode(mode: str, lines: list[Json]) -> None:
    recurring = [line["price"] for line in lines if line["price"]["recurring"]]
    if mode == "payment" and recurring:
        raise RequestRefused(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` "
            "mode or use only one-time prices.",
            param="mode",
        )
    if mode == "subscription" and not recurring:
        raise RequestRefused(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
            param="line_items",
        )
    if len({line["currency"] for line in lines}) > 1:
        raise RequestRefused("All of the line items must be in the same currency.", param="line_items")
    if len({(p["recurring"]["interval"], p["recurring"]["interval_count"]) for p in recurring}) > 1:
        raise RequestRefused("All recurring prices must have the same interval.", param="line_items")
    total, currency = sum(line["amount_total"] for line in lines), lines[0]["currency"]
    if 0 < total < _MINIMUM_CHARGE.get(currency, 0):
        raise RequestRefused(
            f"The Checkout Session's total amount due must add up to at least "
            f"{_MINIMUM_CHARGE[currency]} in the smallest unit of {currency}.",
            code="amount_too_small",
        )
