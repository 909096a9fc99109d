"""An account that sold elsewhere for two years."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.shop import Receiver, Shop
from tests.stripe_sandbox.test_lifecycle import DAY, now

COUNT = 130


@pytest.fixture
def order(shop: Shop) -> dict[str, Any]:
    """Six prices at the account, and what to fill it with."""
    monthly, yearly, team, storage, classic = (
        shop.price(1200).id,
        shop.price(12_000, interval="year").id,
        shop.price(4900).id,
        shop.price(500).id,
        shop.price(700).id,
    )
    return {
        "count": COUNT,
        "plans": [[monthly], [yearly], [monthly], [team], [monthly, storage], [monthly], [yearly]],
        "other_plans": [[classic]],
        "one_time": [shop.price(900, interval=None).id],
    }


def fill(shop: Shop, order: dict[str, Any]) -> None:
    total = 0
    while total < order["count"]:
        made = shop.control("POST", "/existing", json=order)
        assert made.status_code == 200, made.text
        assert made.json()["total"] > total
        total = made.json()["total"]


def listed(shop: Shop) -> dict[str, Any]:
    answer: dict[str, Any] = shop.control("GET", "/existing").json()
    return answer


def read(shop: Shop) -> list[Any]:
    asked: Any = {"status": "all", "limit": 100, "expand": ["data.customer", "data.latest_invoice"]}
    return list(shop.stripe.subscriptions.list(asked).auto_paging_iter())


def test_they_are_of_many_kinds(shop: Shop, order: dict[str, Any]) -> None:
    fill(shop, order)
    existing = listed(shop)["subscriptions"]
    assert Counter(each["status"] for each in existing) == {
        "active": 91,
        "canceled": 19,
        "trialing": 13,
        "past_due": 7,
    }
    assert [n for n, each in enumerate(existing) if each["metadata"]] == list(range(2, COUNT, 3))
    assert existing[17]["metadata"] == {"user": "user_17"}
    assert existing[17]["email"] == "customer17@example.com"
    assert [n for n, each in enumerate(existing) if each["email"] is None] == [4, 29, 54, 79, 104, 129]
    shared = Counter(each["email"] for each in existing if each["email"])
    assert {email for email, times in shared.items() if times == 2} == {
        f"customer{n}@example.com" for n in (9, 59, 109)
    }
    assert sum(each["stripe_price_id"] == order["other_plans"][0][0] for each in existing) == COUNT // 10
    assert sum(len(each["stripe_price_ids"]) == 2 for each in existing) > COUNT // 10
    at_stripe = {each.id: each for each in read(shop)}
    assert {each["subscription"]: each["status"] for each in existing} == {
        name: each.status for name, each in at_stripe.items()
    }
    assert len({each.customer.id for each in at_stripe.values()}) == COUNT


def test_their_periods_and_invoices_are_as_after_two_years(shop: Shop, order: dict[str, Any]) -> None:
    fill(shop, order)
    present, found = now(shop), read(shop)
    assert max(each.created for each in found) <= present
    assert 600 * DAY < present - min(each.created for each in found) < 760 * DAY
    for each in found:
        items, invoice = each["items"].data, each.latest_invoice
        assert isinstance(invoice, stripe.Invoice)
        assert all(line.period.end > line.period.start for line in invoice.lines.data)
        assert len(invoice.lines.data) == len(items)
        if each.status == "canceled":
            assert each.created < each.ended_at <= present
        else:
            assert all(item.current_period_start <= present < item.current_period_end for item in items)
        if each.status == "trialing":
            assert (invoice.status, invoice.amount_due) == ("paid", 0)
        elif each.status == "past_due":
            assert (invoice.status, invoice.billing_reason) == ("open", "subscription_cycle")
            assert invoice.next_payment_attempt is not None
            assert invoice.next_payment_attempt > present
            assert present - items[0].current_period_start < 6 * DAY
        else:
            assert invoice.status == "paid"
    assert any(each.cancel_at_period_end for each in found)
    assert any(each.status == "canceled" and each.trial_end for each in found)


def test_some_came_by_checkout_and_guests_paid_once(shop: Shop, order: dict[str, Any]) -> None:
    fill(shop, order)
    told = listed(shop)
    asked: Any = {"status": "complete", "limit": 100, "expand": ["data.payment_intent.latest_charge"]}
    sessions = list(shop.stripe.checkout.sessions.list(asked).auto_paging_iter())
    bought = {s.subscription: s.client_reference_id for s in sessions if s.mode == "subscription"}
    assert bought == {
        each["subscription"]: f"user_{n}" for n, each in enumerate(told["subscriptions"]) if n % 6 == 1
    }
    guests = {s.id: s for s in sessions if s.mode == "payment"}
    assert {s.customer for s in guests.values()} == {None}
    for each in told["sessions"]:
        session = guests.pop(each["session"])
        assert session.customer_details is not None
        assert isinstance(session.payment_intent, stripe.PaymentIntent)
        charge = session.payment_intent.latest_charge
        assert isinstance(charge, stripe.Charge)
        assert (session.customer_details.email, session.client_reference_id) == (
            each["email"],
            each["client_reference_id"],
        )
        assert (charge.refunded, charge.disputed) == (each["refunded"], each["disputed"])
    assert guests == {}
    assert [s["refunded"] for s in told["sessions"]] == [False, False, True, False, False]
    assert [s["disputed"] for s in told["sessions"]] == [False, False, False, False, True]


def test_they_are_completed_to_a_number_and_told_to_nobody(
    shop: Shop, receiver: Receiver, order: dict[str, Any]
) -> None:
    receiver.listen(shop)
    before = shop.events()
    fill(shop, {**order, "count": 20})
    first = listed(shop)["subscriptions"]
    fill(shop, order)
    assert listed(shop)["subscriptions"][:20] == first
    assert len(listed(shop)["subscriptions"]) == COUNT
    assert shop.control("POST", "/existing", json={**order, "count": 5}).json() == {"total": COUNT}
    assert shop.events() == before


def test_they_live_on_with_the_clock(shop: Shop, order: dict[str, Any]) -> None:
    fill(shop, {**order, "count": 40})
    types = Counter(shop.act("advance_clock", seconds=32 * DAY))
    assert types["customer.subscription.deleted"] >= 2, "what is past due is given up, what ends ends"
    assert types["invoice.paid"] >= 15
    statuses = Counter(each.status for each in read(shop))
    assert statuses["trialing"] == 0
    assert statuses["past_due"] == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"count": 0},
        {"count": 50_001},
        {"count": True},
        {"plans": []},
        {"plans": ["price_1"]},
        {"other_plans": [[]]},
        {"one_time": [5]},
        {"one_time": None},
        {"plans": [["price_no"]]},
        {"color": 1},
    ],
)
def test_odd_orders_are_refused(shop: Shop, order: dict[str, Any], odd: dict[str, Any]) -> None:
    assert shop.control("POST", "/existing", json={**order, **odd}).status_code in {400, 404}
    assert read(shop) == []
