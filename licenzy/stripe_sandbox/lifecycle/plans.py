"""What a subscription costs, changed while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.errors import CardDeclined, InvalidParameter, RequestRefused, ResourceMissing
from licenzy.stripe_sandbox.lifecycle import cycles, periods, prorations, subscriptions
from licenzy.stripe_sandbox.lifecycle.payment_methods import outcome_of
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes.subscriptions import new_item, price_fields
from licenzy.stripe_sandbox.version import Json

PRORATIONS = ("always_invoice", "create_prorations", "none")
_BILLED = ("active", "past_due")


@dataclass(frozen=True)
class ChangeOptions:
    """What a change of items does besides. The periods stay as they are unless `reset` begins new ones."""

    proration: str = "none"
    """`create_prorations` for the next invoice, `always_invoice` for one at once, or `none`."""
    reset: bool = False
    refuse_decline: bool = False


def change_items(
    session: AccountStore,
    subscription: Json,
    changes: list[Json],
    options: ChangeOptions = ChangeOptions(),
) -> None:
    """Another price or quantity for items that are there, new items, and items that go.

    As at Stripe, when all items get prices of another interval, new periods begin now, with an invoice that
    is collected at once. A trial goes on as it is.
    """
    before = subscription["items"]["data"]
    after = _changed(session, subscription, changes)
    resets = options.reset or _interval_changes(before, after)
    if subscription["status"] not in _BILLED:
        _update(session, subscription, after)
        return
    credits_ = [prorations.unused(item, at=session.now) for item in before]
    if options.proration == "none":
        credits_ = []
    if resets:
        _refuse_decline(subscription, options)
        cycles.restart(
            session,
            subscription,
            items=_listed(subscription, after),
            credits_=[entry for entry in credits_ if entry.amount],
        )
        return
    entries = prorations.of_change(before, after, at=session.now) if options.proration != "none" else []
    if not entries or options.proration != "always_invoice":
        _update(session, subscription, after)
        cycles.add_entries(session, subscription, entries)
        return
    if sum(entry.amount for entry in entries) > 0:
        _refuse_decline(subscription, options)
    cycles.add_entries(session, subscription, entries)
    cycles.invoice_pending(session, subscription, changes={"items": _listed(subscription, after)})


def choices(session: AccountStore, subscription: Json) -> list[Json]:
    """The prices that it could change to, cheapest first: active, recurring, in the same currency."""
    current = subscription["items"]["data"][0]["price"]
    found = [
        price
        for price in session.select("price", where("active", True), where("currency", current["currency"]))
        if price["recurring"] and price["id"] != current["id"] and _is_sold(session, price)
    ]
    return sorted(found, key=lambda price: price["unit_amount"] or 0)


def require_sellable(price: Json, *, currency: str, param: str) -> None:
    """Refuse what no item of a subscription in this currency can be."""
    if not price["active"]:
        raise RequestRefused(
            "The price specified is inactive. This field only accepts active prices.", param=param
        )
    if not price["recurring"] or price["currency"] != currency:
        raise RequestRefused(
            "A subscription changes only to a recurring price of the same currency.", param=param
        )


def _changed(session: AccountStore, subscription: Json, changes: list[Json]) -> list[Json]:
    items = {item["id"]: item for item in subscription["items"]["data"]}
    for number, change in enumerate(changes):
        name = f"items[{number}]"
        if "id" not in change:
            added = _added(session, subscription, change, name)
            items[added["id"]] = added
        elif change["id"] not in items:
            raise ResourceMissing(
                f"No such subscription item: '{change['id']}'", param=f"{name}[id]", in_address=False
            )
        elif change.get("deleted"):
            del items[change["id"]]
        else:
            items[change["id"]] = _replaced(session, subscription, items[change["id"]], change, name)
    if not items:
        raise RequestRefused("A subscription must have at least one active price.", param="items")
    prices = [item["price"]["id"] for item in items.values()]
    if len(prices) > len(set(prices)):
        raise RequestRefused("A price can be in a subscription only once.", param="items")
    return list(items.values())


def _added(session: AccountStore, subscription: Json, change: Json, name: str) -> Json:
    if "price" not in change:
        raise InvalidParameter(
            f"Missing required param: {name}[price].", code="parameter_missing", param=f"{name}[price]"
        )
    price = session.get("price", change["price"], param=f"{name}[price]")
    require_sellable(price, currency=subscription["currency"], param=f"{name}[price]")
    item = new_item(
        session,
        subscription["id"],
        price=price,
        quantity=change.get("quantity", 1),
        metadata=change.get("metadata"),
    )
    return _in_its_period(session, subscription, item)


def _replaced(session: AccountStore, subscription: Json, item: Json, change: Json, name: str) -> Json:
    changed = dict(item)
    if "price" in change:
        price = session.get("price", change["price"], param=f"{name}[price]")
        require_sellable(price, currency=subscription["currency"], param=f"{name}[price]")
        changed.update(price_fields(price))
        if _interval(price) != _interval(item["price"]):
            changed = _in_its_period(session, subscription, changed)
    if "quantity" in change:
        changed["quantity"] = change["quantity"]
    if "metadata" in change:
        changed["metadata"] = {**item["metadata"], **(change["metadata"] or {})}
    return changed


def _in_its_period(session: AccountStore, subscription: Json, item: Json) -> Json:
    """In the period of the items of the same interval, or the one that the anchor gives; a trial's items
    share its period."""
    for other in subscription["items"]["data"]:
        alike = _interval(other["price"]) == _interval(item["price"])
        if alike or subscription["status"] == "trialing":
            return cycles.with_period(item, other["current_period_start"], other["current_period_end"])
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    return cycles.with_period(item, *periods.containing(anchor, recurring, session.now))


def _interval_changes(before: list[Json], after: list[Json]) -> bool:
    old, new = ({_interval(item["price"]) for item in items} for items in (before, after))
    return len(new) == 1 and not new & old


def _interval(price: Json) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def _update(session: AccountStore, subscription: Json, items: list[Json]) -> None:
    subscriptions.update(session, subscription, items=_listed(subscription, items))


def _listed(subscription: Json, items: list[Json]) -> Json:
    return {**subscription["items"], "data": items, "total_count": len(items)}


def _refuse_decline(subscription: Json, options: ChangeOptions) -> None:
    if options.refuse_decline and outcome_of(subscription) is PaymentOutcome.FAILED:
        raise CardDeclined(keeps_work=False)


def _is_sold(session: AccountStore, price: Json) -> bool:
    product = session.find("product", price["product"])
    return product is not None and bool(product["active"])
