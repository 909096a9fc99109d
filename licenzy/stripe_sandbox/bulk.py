"""Many subscriptions at once, as an account has them that sold elsewhere for years.

A request is `{"count": 5000, "prices": ["price_…"], "quantity": 1, "status": "active", "email":
"buyer{n}@example.com", "metadata": {"user": "u{n}"}, "invoices": false, "events": false}`, of which only
`count` and `prices` are needed. `{n}` is the number of the subscription, from 0. Prices take turns; a list of
prices among them makes one subscription with an item of each. Periods began at different times, so that not
all renew together. With `invoices` each has what its present period cost, paid or, when `past_due`, declined;
without, it has no invoice and is made much faster. With `events` they are announced as usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import account_of
from licenzy.stripe_sandbox.due import next_renewal
from licenzy.stripe_sandbox.errors import InvalidParameter
from licenzy.stripe_sandbox.lifecycle import cycles, plans, subscriptions
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.lifecycle.periods import containing
from licenzy.stripe_sandbox.shapes.customers import customer as new_customer
from licenzy.stripe_sandbox.shapes.subscriptions import subscription as new_subscription
from licenzy.stripe_sandbox.store import Store
from licenzy.stripe_sandbox.version import Json

MOST = 100_000
_MOST_WITH_INVOICES = 5_000
_IN_A_TRANSACTION = 250
_STATUSES = ("active", "trialing", "past_due", "canceled")
_TYPES: dict[str, type] = {
    "count": int,
    "email": str,
    "events": bool,
    "invoices": bool,
    "metadata": dict,
    "prices": list,
    "quantity": int,
    "status": str,
}


@dataclass(frozen=True)
class BulkOrder:
    """What to make; see the module."""

    count: int
    prices: list[list[str]]
    quantity: int
    status: str
    email: str
    metadata: dict[str, str]
    invoices: bool
    events: bool


def read_order(body: Json) -> BulkOrder:
    """The request as an order. Raises InvalidParameter."""
    for name, value in body.items():
        if name not in _TYPES:
            raise InvalidParameter(f"Received unknown parameter: {name}", param=name)
        if type(value) is not _TYPES[name]:
            raise InvalidParameter(f"{name} must be of type {_TYPES[name].__name__}", param=name)
    order = BulkOrder(
        count=body.get("count", 0),
        prices=[[each] if isinstance(each, str) else each for each in body.get("prices", [])],
        quantity=body.get("quantity", 1),
        status=body.get("status", "active"),
        email=body.get("email", "buyer{n}@example.com"),
        metadata=body.get("metadata", {}),
        invoices=body.get("invoices", False),
        events=body.get("events", False),
    )
    most = _MOST_WITH_INVOICES if order.invoices else MOST
    if not 1 <= order.count <= most:
        raise InvalidParameter(f"count must be from 1 to {most}", param="count")
    if not 0 <= order.quantity <= 999_999:
        raise InvalidParameter("quantity must be from 0 to 999999", param="quantity")
    if order.status not in _STATUSES:
        raise InvalidParameter(f"status must be one of {', '.join(_STATUSES)}", param="status")
    if not order.prices or not all(_are_names(each) for each in order.prices):
        raise InvalidParameter("prices must be ids of prices, or lists of them", param="prices")
    if not all(isinstance(value, str) for value in order.metadata.values()):
        raise InvalidParameter("metadata must be strings", param="metadata")
    return order


def make_subscriptions(store: Store, scope: str, public_url: str, order: BulkOrder) -> Json:
    """Make them in short transactions, so that others can write between; their number and the ids of the
    first and the last."""
    made: list[str] = []
    for start in range(0, order.count, _IN_A_TRANSACTION):
        with store.writing() as db:
            session = AccountStore(db, account_of(db, scope), public_url, silent=not order.events)
            prices = [_prices(session, each) for each in order.prices]
            for number in range(start, min(start + _IN_A_TRANSACTION, order.count)):
                made.append(_make_one(session, order, prices[number % len(prices)], number))
                session.forget()
    return {"created": len(made), "first": made[0], "last": made[-1]}


def _make_one(session: AccountStore, order: BulkOrder, prices: list[Json], number: int) -> str:
    present = session.now
    shortest = min(_length(price, present) for price in prices)
    session.now = started = present - shortest * number // order.count
    customer = session.insert(new_customer(session, {"email": order.email.replace("{n}", str(number))}))
    subscription = new_subscription(
        session,
        customer=customer["id"],
        lines=[{"price": price, "quantity": order.quantity} for price in prices],
        metadata={name: value.replace("{n}", str(number)) for name, value in order.metadata.items()},
        description=None,
        automatic_tax=False,
        payment_method=None,
    )
    session.lane = subscription["id"]
    session.emit("customer.created", customer)
    if order.invoices:
        session.now = started - shortest if order.status == "past_due" else started
        _live(session, order, subscription, trial_end=started + shortest)
    else:
        _state(session, order, subscription)
    session.now = present
    return str(subscription["id"])


def _live(session: AccountStore, order: BulkOrder, subscription: Json, *, trial_end: int) -> None:
    """What makes a subscription what it is, step by step."""
    items = [
        {"price": item["price"], "quantity": item.get("quantity", 1)}
        for item in subscription["items"]["data"]
    ]
    how = cycles.SubscriptionStart(items=items, trial_end=trial_end if order.status == "trialing" else None)
    cycles.start(session, subscription, how)
    if order.status == "past_due":
        session.now = next_renewal(subscription)
        cycles.renew(session, subscription, outcome=PaymentOutcome.FAILED)
    elif order.status == "canceled":
        subscriptions.cancel(session, subscription)


def _state(session: AccountStore, order: BulkOrder, subscription: Json) -> None:
    """The subscription alone, as it now is."""
    now, trial = session.now, order.status == "trialing"
    moved = [
        cycles.with_period(item, *containing(now, item["price"]["recurring"], now))
        for item in subscription["items"]["data"]
    ]
    ends = min(item["current_period_end"] for item in moved)
    if trial:
        moved = [cycles.with_period(item, now, ends) for item in moved]
    subscription |= {"status": order.status, "items": {**subscription["items"], "data": moved}}
    if trial:
        subscription |= {"trial_start": now, "trial_end": ends, "billing_cycle_anchor": ends}
    if order.status == "canceled":
        subscription |= {"canceled_at": now, "ended_at": now}
    session.insert(subscription)
    session.emit("customer.subscription.created", subscription)


def _prices(session: AccountStore, ids: list[str]) -> list[Json]:
    found = [session.get("price", each, param="prices") for each in ids]
    for price in found:
        plans.require_sellable(price, currency=found[0]["currency"], param="prices")
    return found


def _length(price: Json, at: int) -> int:
    start, end = containing(at, price["recurring"], at)
    return end - start


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
