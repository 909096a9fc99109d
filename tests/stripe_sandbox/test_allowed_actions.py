"""What the sandbox says may happen, held against what it does; and how the events of it are delivered."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import find_account
from licenzy.stripe_sandbox.actions import DELIVERIES, perform
from licenzy.stripe_sandbox.allowed_actions import for_purchase
from licenzy.stripe_sandbox.errors import StripeRefusal
from tests.stripe_sandbox.conftest import Stand
from tests.stripe_sandbox.shop import CONTROL, Receiver, Shop

DAY = 86400
# Possible at Stripe in states in which they only confuse who looks on.
NOT_OFFERED = {
    "renew",
    "renew_in_time",
    "fail_renewal_in_time",
    "change_plan",
    "cancel_at_period_end",
    "keep",
}
_NUMBERS = itertools.count()
Offers = dict[str, dict[str, Any]]


def purchase(shop: Shop, session_id: str) -> dict[str, Any]:
    told = shop.control("GET", f"/purchases/{session_id}")
    assert told.status_code == 200, told.text
    return dict(told.json())


def offers(shop: Shop, session_id: str) -> Offers:
    return {offer["action"]: offer for offer in purchase(shop, session_id)["offers"]}


def allowed_actions(shop: Shop, session_id: str) -> set[str]:
    return {name for name, offer in offers(shop, session_id).items() if offer["reason"] is None}


def test_a_session_that_waits_can_be_paid(shop: Shop) -> None:
    session = shop.session(shop.price())
    assert allowed_actions(shop, session.id) == {"pay_session", "pay_session_later", "expire_session"}
    assert purchase(shop, session.id)["url"] == session.url
    told = shop.act("pay_session", session=session.id)
    assert told[-1] == "checkout.session.completed"
    assert shop.stripe.checkout.sessions.retrieve(session.id).payment_status == "paid"
    assert "cannot be paid" in shop.refused("pay_session", session=session.id)


def test_a_debit_that_is_on_its_way_arrives_or_does_not(shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    shop.act("pay_session_later", session=session.id)
    assert allowed_actions(shop, session.id) == {"settle_session", "fail_session"}
    assert offers(shop, session.id)["pay_session"]["reason"] == "Its payment is on its way."
    shop.act("settle_session", session=session.id)
    assert allowed_actions(shop, session.id) == {"refund", "refund_partially", "dispute", "inquire"}


WAYS: list[tuple[str, ...]] = [
    *((), ("refund",), ("dispute",), ("inquire",), ("refund", "fail_refund"), ("refund_partially",)),
    *(("dispute", "lose_dispute"), ("dispute", "win_dispute")),
]
WAYS_OF_SUBSCRIPTIONS: list[tuple[str, ...]] = [
    *(("cancel",), ("pause",), ("fail_renewal",), ("cancel_at_period_end",), ("pause", "resume")),
]


@pytest.mark.parametrize("interval", ["month", None])
def test_whatever_is_offered_works_and_the_rest_is_refused(
    stand: Stand, shop: Shop, interval: str | None
) -> None:
    """In each state that a few steps lead to, every action is tried, and taken back."""
    other, tried = shop.price(4900).id, 0
    session = shop.bought(shop.price(interval=interval)).id
    with stand.app.services.store.writing() as db:
        for way in [*WAYS, *(WAYS_OF_SUBSCRIPTIONS if interval else [])]:
            with taken_back(db):
                for step in way:
                    take(account_store(db, shop), session, step, other)
                offered = for_purchase(
                    account_store(db, shop),
                    account_store(db, shop).find("checkout.session", session) or {},
                )
                for offer in offered["offers"]:
                    name = offer["action"]
                    with taken_back(db):
                        if offer["reason"] is None:
                            assert take(account_store(db, shop), session, name, other), (way, name)
                            tried += 1
                        elif offer["named"] and name not in NOT_OFFERED:
                            with pytest.raises(StripeRefusal):
                                perform(account_store(db, shop), {"action": name, **offer["named"]})
    assert tried >= 25


@contextmanager
def taken_back(db: sqlite3.Connection) -> Iterator[None]:
    name = f"s{next(_NUMBERS)}"
    db.execute(f"SAVEPOINT {name}")
    yield
    db.execute(f"ROLLBACK TO {name}")


def account_store(db: sqlite3.Connection, shop: Shop) -> AccountStore:
    account = find_account(db, shop.id)
    assert account is not None
    return AccountStore(db, account, shop.url)


def take(at: AccountStore, session: str, action: str, price: str) -> list[dict[str, Any]]:
    told = for_purchase(at, at.find("checkout.session", session) or {})
    offer = next(offer for offer in told["offers"] if offer["action"] == action)
    assert offer["reason"] is None, (action, offer)
    extra = {"price": price} if action == "change_plan" else {}
    return perform(at, {"action": action, **offer["named"], **extra})


def test_each_refusal_has_a_sentence(shop: Shop) -> None:
    for offer in offers(shop, shop.bought().id).values():
        assert offer["reason"] is None or offer["reason"].endswith("."), offer


def test_the_payment_of_a_subscription_is_that_of_its_last_paid_invoice(shop: Shop) -> None:
    session = shop.bought(shop.price())
    first = offers(shop, session.id)["refund"]["named"]["charge"]
    shop.act("renew", subscription=str(session.subscription))
    second = offers(shop, session.id)["refund"]["named"]["charge"]
    assert second != first
    shop.act("fail_renewal", subscription=str(session.subscription))
    assert offers(shop, session.id)["refund"]["named"]["charge"] == second


def test_plans_are_those_that_it_can_change_to(shop: Shop) -> None:
    monthly, yearly = shop.price(1000), shop.price(9900, interval="year")
    session = shop.bought(monthly)
    plans = purchase(shop, session.id)["plans"]
    assert [(plan["price"], plan["amount"], plan["interval"]) for plan in plans] == [
        (yearly.id, 9900, "year")
    ]
    assert purchase(shop, shop.bought().id)["plans"] == []


def test_what_is_not_there_is_missing(stand: Stand, shop: Shop) -> None:
    assert shop.control("GET", "/purchases/cs_test_no").status_code == 404
    stranger = Shop(stand.url).bought()
    assert shop.control("GET", f"/purchases/{stranger.id}").status_code == 404
    address = f"{stand.url}/_sandbox/accounts/{shop.id}/purchases/{stranger.id}"
    assert httpx.get(address).status_code == 401
    assert httpx.get(f"{stand.url}/_sandbox/accounts/acct_no/purchases/x", headers=CONTROL).status_code == 404


def renewed(shop: Shop, receiver: Receiver, delivery: str) -> dict[str, Any]:
    subscription = shop.subscribed()
    receiver.listen(shop, "customer.subscription.updated", "invoice.paid", "invoice_payment.paid")
    asked = {"action": "renew", "subscription": subscription.id, "delivery": delivery}
    told = shop.control("POST", "/actions", json=asked)
    assert told.status_code == 200, told.text
    return dict(told.json())


def test_events_come_in_order(shop: Shop, receiver: Receiver) -> None:
    told = renewed(shop, receiver, "in_order")
    receiver.wait_for("invoice_payment.paid")
    assert receiver.types() == ["customer.subscription.updated", "invoice.paid", "invoice_payment.paid"]
    assert sorted(told["posted"]) == sorted(event.id for event in receiver.events)
    assert len(told["events"]) == 9, "and those that no endpoint asked for"


def test_events_come_twice(shop: Shop, receiver: Receiver) -> None:
    told = renewed(shop, receiver, "twice")
    receiver.wait_for("invoice_payment.paid", times=2)
    assert len(receiver.events) == 6
    assert set(told["posted"].values()) == {2}


def test_the_last_event_comes_first(shop: Shop, receiver: Receiver) -> None:
    renewed(shop, receiver, "last_first")
    receiver.wait_for("customer.subscription.updated")
    assert receiver.types() == ["invoice_payment.paid", "invoice.paid", "customer.subscription.updated"]


def test_events_that_are_lost_stay_listed(shop: Shop, receiver: Receiver) -> None:
    told = renewed(shop, receiver, "never")
    shop.act("renew", subscription=shop.stripe.subscriptions.list().data[0].id)
    receiver.wait_for("invoice_payment.paid")
    assert receiver.types() == ["customer.subscription.updated", "invoice.paid", "invoice_payment.paid"]
    listed = {event.id for event in shop.stripe.events.list({"limit": 100}).data}
    assert set(told["events"]) <= listed
    assert not set(told["events"]) & {event.id for event in receiver.events}


def test_there_is_no_other_way_to_deliver(shop: Shop) -> None:
    for odd in ("sideways", 5, None, ["never"]):
        answer = shop.control(
            "POST", "/actions", json={"action": "advance_clock", "seconds": 5, "delivery": odd}
        )
        assert answer.status_code == 400
        assert "in_order" in answer.json()["error"]["message"]
    assert DELIVERIES[0] == "in_order"
