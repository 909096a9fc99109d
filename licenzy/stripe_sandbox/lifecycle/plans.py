"""What a subscription costs, changed while it runs. Nothing is prorated: `proration_behavior=none`."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession, where
from licenzy.stripe_sandbox.errors import RequestRefused, ResourceMissing
from licenzy.stripe_sandbox.lifecycle import subscriptions
from licenzy.stripe_sandbox.shapes.subscriptions import price_fields
from licenzy.stripe_sandbox.version import Json


def change_items(session: AccountSession, subscription: Json, changes: list[Json]) -> None:
    """Another price or quantity for items that are there already.

    As at Stripe, a price of another interval begins a new period now, with an invoice that is collected; any
    other change waits for the next renewal. A trial goes on as it is.
    """
    known = {item["id"]: item for item in subscription["items"]["data"]}
    before = _interval(subscription["items"]["data"][0]["price"])
    for change in changes:
        if change["id"] not in known:
            raise ResourceMissing(
                f"No such subscription item: '{change['id']}'", param="items[0][id]", in_address=False
            )
        known[change["id"]] = _changed(session, known[change["id"]], change)
    items = {**subscription["items"], "data": list(known.values())}
    if len({_interval(item["price"]) for item in items["data"]}) > 1:
        raise RequestRefused(
            "All prices of a subscription must have the same interval.", param="items[0][price]"
        )
    if _interval(items["data"][0]["price"]) == before or subscription["status"] not in ("active", "past_due"):
        subscriptions.update(session, subscription, items=items)
    else:
        subscriptions.restart_period(session, subscription, items=items)


def choices(session: AccountSession, subscription: Json) -> list[Json]:
    """The prices that it could change to, cheapest first: active, recurring, in the same currency."""
    current = subscription["items"]["data"][0]["price"]
    found = [
        price
        for price in session.select("price", where("active", True), where("currency", current["currency"]))
        if price["recurring"] and price["id"] != current["id"] and _is_sold(session, price)
    ]
    return sorted(found, key=lambda price: price["unit_amount"] or 0)


def _changed(session: AccountSession, item: Json, change: Json) -> Json:
    changed = dict(item)
    if "price" in change:
        price = session.get("price", change["price"], param="items[0][price]")
        _validate_new_price(price, item["price"])
        changed.update(price_fields(price))
    if "quantity" in change:
        changed["quantity"] = change["quantity"]
    return changed


def _validate_new_price(price: Json, current: Json) -> None:
    if not price["active"]:
        raise RequestRefused(
            "The price specified is inactive. This field only accepts active prices.", param="items[0][price]"
        )
    if not price["recurring"] or price["currency"] != current["currency"]:
        raise RequestRefused(
            "A subscription changes only to a recurring price of the same currency.", param="items[0][price]"
        )


def _interval(price: Json) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def _is_sold(session: AccountSession, price: Json) -> bool:
    product = session.find("product", price["product"])
    return product is not None and bool(product["active"])
