"""The customers of an account that sold elsewhere for two years: what an import meets.

A request is `{"count": 500, "plans": [["price_1"], ["price_1", "price_2"]], "other_plans": [["price_3"]],
"one_time": ["price_4"]}`. It completes the account to `count` subscriptions, at most 100 in one call: `total`
of the answer says how many there are. The plans take turns, an item of each price; a tenth is on one of the
`other_plans`, and what guests buy once is of `one_time`. Who they are, and when they began, follows from
their number: see `_Buyer`. No event tells of them, and they live on like all others.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore, Condition
from licenzy.stripe_sandbox.accounts import account_of
from licenzy.stripe_sandbox.api.line_items import line_items_for
from licenzy.stripe_sandbox.due import trial_warning
from licenzy.stripe_sandbox.errors import InvalidParameter
from licenzy.stripe_sandbox.lifecycle import (
    checkout,
    collection,
    cycles,
    disputes,
    payments,
    periods,
    plans,
    refunds,
    subscriptions,
)
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes.checkout import session as new_session
from licenzy.stripe_sandbox.shapes.customers import customer as new_customer
from licenzy.stripe_sandbox.shapes.subscriptions import subscription as new_subscription
from licenzy.stripe_sandbox.store import Store
from licenzy.stripe_sandbox.version import Json

MOST = 50_000
MOST_AT_ONCE = 100
LISTED_AT_ONCE = 1000
_IN_A_TRANSACTION = 50
_DAY = 86_400
_TWO_YEARS = 730 * _DAY
_TRIAL_DAYS = 14


@dataclass(frozen=True)
class ExistingOrder:
    """What to complete an account to; see the module."""

    count: int
    plans: list[list[str]]
    other_plans: list[list[str]]
    one_time: list[str]


@dataclass(frozen=True)
class _Buyer:
    """Who a subscription is of, by its number.

    A third have a user in their metadata, a sixth a user in the session that they bought in; one of 25 has
    no e-mail, and one of 50 that of the one before.
    """

    number: int

    @property
    def user(self) -> str:
        return f"user_{self.number}"

    @property
    def metadata(self) -> Json:
        return {"user": self.user} if self.number % 3 == 2 else {}

    @property
    def came_by_checkout(self) -> bool:
        return self.number % 6 == 1

    @property
    def email(self) -> str | None:
        if self.number % 25 == 4:
            return None
        named = self.number - 1 if self.number % 50 == 10 else self.number
        return f"customer{named}@example.com"

    @property
    def status(self) -> str:
        """Of 20, two are trialing, three canceled and one past due; `ending` is active to its period's end,
        and `tried` was canceled when its trial was over."""
        special = {3: "trialing", 5: "canceled", 7: "past_due", 11: "tried", 13: "trialing", 15: "ending"}
        return {**special, 18: "canceled"}.get(self.number % 20, "active")

    @property
    def has_other_plan(self) -> bool:
        return (self.number + self.number // 10) % 10 == 9

    @property
    def brings_guest(self) -> bool:
        """Whether somebody without a customer bought once, a little later."""
        return self.number % 25 == 12


def read_order(body: Json) -> ExistingOrder:
    """The request as an order. Raises InvalidParameter."""
    count = body.get("count")
    if type(count) is not int or not 1 <= count <= MOST:
        raise InvalidParameter(f"count must be from 1 to {MOST}", param="count")
    for name in ("plans", "other_plans"):
        if not isinstance(body.get(name), list) or not body[name] or not all(map(_are_ids, body[name])):
            raise InvalidParameter(f"{name} must be lists of ids of prices", param=name)
    if not _are_ids(body.get("one_time")):
        raise InvalidParameter("one_time must be ids of prices", param="one_time")
    return ExistingOrder(count, body["plans"], body["other_plans"], body["one_time"])


def complete(store: Store, scope: str, public_url: str, order: ExistingOrder) -> Json:
    """Make what is missing, in short transactions, so that others can write between; the `total` now."""
    for _ in range(0, MOST_AT_ONCE, _IN_A_TRANSACTION):
        with store.writing() as db:
            session = AccountStore(db, account_of(db, scope), public_url, silent=True)
            total = _total(db, scope)
            for number in range(total, min(total + _IN_A_TRANSACTION, order.count)):
                _Maker(session, order, _Buyer(number)).make()
                session.forget()
    with store.reading() as db:
        return {"total": _total(db, scope)}


def listed(session: AccountStore, *, after: int) -> Json:
    """The 1,000 `subscriptions` numbered after `after`, and the `sessions` of the guests among them; the
    number to go on `after`, or null."""
    last = after + LISTED_AT_ONCE
    numbers: Condition = ("json_extract(body, '$._existing') BETWEEN ? AND ?", [after + 1, last])
    return {
        "subscriptions": [_shown(session, each) for each in _in_order(session, "subscription", numbers)],
        "sessions": [_shown_guest(session, each) for each in _in_order(session, "checkout.session", numbers)],
        "after": last if _total(session.db, session.account.scope) > last + 1 else None,
    }


def _in_order(session: AccountStore, kind: str, numbers: Condition) -> list[Json]:
    return sorted(session.select(kind, numbers), key=lambda each: int(each["_existing"]))


def _total(db: sqlite3.Connection, scope: str) -> int:
    row = db.execute(
        "SELECT json_extract(body, '$._existing') AS last FROM objects WHERE scope = ? AND"
        " kind = 'subscription' AND json_extract(body, '$._existing') IS NOT NULL"
        " ORDER BY json_extract(body, '$._existing') DESC LIMIT 1",
        (scope,),
    ).fetchone()
    return int(row["last"]) + 1 if row else 0


class _Maker:
    """One subscription with its customer, step by step at the times when it happened."""

    def __init__(self, session: AccountStore, order: ExistingOrder, buyer: _Buyer) -> None:
        self._session, self._buyer, self._present = session, buyer, session.now
        number = buyer.number
        turns = order.other_plans if buyer.has_other_plan else order.plans
        self._prices = [session.get("price", each, param="plans") for each in turns[number % len(turns)]]
        for price in self._prices:
            plans.require_sellable(price, currency=self._prices[0]["currency"], param="plans")
        self._one_time = order.one_time[number % len(order.one_time)]
        self._began = self._present - _TWO_YEARS * (order.count - number) // (order.count + 1)

    def make(self) -> None:
        session, buyer = self._session, self._buyer
        session.now = self._began = self._beginning()
        named = {"email": buyer.email, "metadata": buyer.metadata, "name": f"Customer {buyer.number}"}
        customer = session.insert(new_customer(session, named))
        subscription = self._start(customer)
        self._live(subscription)
        session.change(subscription, _existing=buyer.number)
        if buyer.brings_guest:
            self._sell_to_guest()
        session.now = self._present

    def _beginning(self) -> int:
        number, recurring = self._buyer.number, self._prices[0]["recurring"]
        if self._buyer.status == "trialing":
            return self._present - number % (_TRIAL_DAYS - 2) * _DAY - 3600
        if self._buyer.status == "past_due":
            # Its present period began so lately that its invoice is still tried.
            lately, turns = self._present - (1 + number % 2) * _DAY, 1
            while periods.earlier(lately, recurring, turns + 1) > self._began:
                turns += 1
            return periods.earlier(lately, recurring, turns)
        return self._began

    def _start(self, customer: Json) -> Json:
        session = self._session
        trial = _TRIAL_DAYS if self._buyer.status in ("trialing", "tried") else None
        lines = [{"price": price["id"], "quantity": 1} for price in self._prices]
        if self._buyer.came_by_checkout:
            asked: Json = {
                "mode": "subscription",
                "line_items": lines,
                "client_reference_id": self._buyer.user,
            }
            if trial:
                asked["subscription_data"] = {"trial_period_days": trial}
            sold = self._check_out(asked, customer, email=None)
            return session.get("subscription", sold["subscription"], param="subscription")
        items = [{"price": price, "quantity": 1} for price in self._prices]
        subscription = new_subscription(
            session,
            customer=customer["id"],
            lines=items,
            metadata={},
            description=None,
            automatic_tax=False,
            payment_method=None,
        )
        trial_end = session.now + trial * _DAY if trial else None
        cycles.start(session, subscription, cycles.SubscriptionStart(items=items, trial_end=trial_end))
        return subscription

    def _check_out(self, asked: Json, customer: Json | None, *, email: str | None) -> Json:
        session = self._session
        params = {**asked, "success_url": "https://example.com/thanks"}
        sold = session.insert(
            new_session(
                session,
                params,
                lines=line_items_for(session, params),
                customer=customer,
                expires_at=session.now + _DAY,
            )
        )
        checkout.complete(session, sold, outcome=PaymentOutcome.SUCCEEDED, email=email, quantities={})
        return sold

    def _live(self, subscription: Json) -> None:
        session, status, present = self._session, self._buyer.status, self._present
        if status == "past_due":
            subscriptions.set_card_fails(session, subscription, True)
            self._renew_last(subscription, until=present, outcome=PaymentOutcome.FAILED)
            invoice = session.get("invoice", subscription["latest_invoice"], param="invoice")
            while invoice["next_payment_attempt"] is not None and invoice["next_payment_attempt"] <= present:
                session.now = invoice["next_payment_attempt"]
                collection.retry(session, invoice)
        elif status in ("canceled", "tried"):
            ends = subscription["trial_end"] or self._last_day(subscription)
            ends = ends if ends <= present else self._began + (present - self._began) // 2
            self._renew_last(subscription, until=ends - 1)
            session.now = ends
            subscriptions.cancel(session, subscription)
        elif status == "trialing":
            session.change(subscription, _trial_warned=trial_warning(subscription) <= present)
        else:
            self._renew_last(subscription, until=present)
            if status == "ending":
                session.now = present
                subscriptions.schedule_cancel(session, subscription, at=None, set_period_end_flag=True)

    def _last_day(self, subscription: Json) -> int:
        """The end of a period in the midst of the time that it could have had."""
        anchor, recurring = subscription["billing_cycle_anchor"], self._prices[0]["recurring"]
        return periods.containing(anchor, recurring, (anchor + self._present) // 2)[1]

    def _renew_last(
        self, subscription: Json, *, until: int, outcome: PaymentOutcome = PaymentOutcome.SUCCEEDED
    ) -> None:
        """The last renewal before `until`, as if all earlier ones had been."""
        session, anchor, items = self._session, subscription["billing_cycle_anchor"], subscription["items"]
        if until < anchor:
            return
        began = [periods.containing(anchor, item["price"]["recurring"], until)[0] for item in items["data"]]
        if max(began) == anchor:
            return
        moved = [
            cycles.with_period(item, *periods.containing(anchor, item["price"]["recurring"], max(began) - 1))
            for item in items["data"]
        ]
        session.change(subscription, items={**items, "data": moved})
        session.now = max(began)
        cycles.renew(session, subscription, outcome=outcome)

    def _sell_to_guest(self) -> None:
        session, turn = self._session, self._buyer.number // 25
        session.now = min(self._began + 3600, self._present)
        line = {"price": self._one_time, "quantity": 1}
        asked: Json = {"mode": "payment", "line_items": [line]}
        if turn % 2:
            asked["client_reference_id"] = f"guest_{self._buyer.number}"
        sold = self._check_out(asked, None, email=f"guest{self._buyer.number}@example.com")
        session.change(sold, _existing=self._buyer.number)
        charge = payments.charge_for(session, payment_intent=sold["payment_intent"])
        if turn % 5 == 2:
            refunds.refund(session, charge)
        elif turn % 5 == 4:
            disputes.open_dispute(session, charge)


def _shown(session: AccountStore, subscription: Json) -> Json:
    customer = session.find("customer", subscription["customer"]) or {"email": None, "metadata": {}}
    prices = [item["price"]["id"] for item in subscription["items"]["data"]]
    return {
        "subscription": subscription["id"],
        "customer": subscription["customer"],
        "email": customer["email"],
        "metadata": customer["metadata"],
        "status": subscription["status"],
        "stripe_price_id": prices[0],
        "stripe_price_ids": prices,
    }


def _shown_guest(session: AccountStore, sold: Json) -> Json:
    charge = payments.charge_for(session, payment_intent=sold["payment_intent"])
    return {
        "session": sold["id"],
        "email": sold["customer_details"]["email"],
        "client_reference_id": sold["client_reference_id"],
        "stripe_price_id": sold["_lines"][0]["price"]["id"],
        "refunded": charge["refunded"],
        "disputed": charge["disputed"],
    }


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
