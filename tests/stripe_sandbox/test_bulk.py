"""Accounts of many subscriptions, made at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stripe_sandbox.conftest import Stand
from tests.stripe_sandbox.shop import Receiver, Shop
from tests.stripe_sandbox.test_lifecycle import DAY, now


def make(shop: Shop, **order: Any) -> dict[str, Any]:
    made = shop.control("POST", "/subscriptions", json=order)
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()
    return answer


def walk(shop: Shop, **asked: Any) -> list[Any]:
    """All subscriptions, page by page."""
    found: list[Any] = []
    while True:
        after: Any = {"limit": 100, **asked, **({"starting_after": found[-1].id} if found else {})}
        page = shop.stripe.subscriptions.list(after)
        found += page.data
        if not page.has_more:
            return found


def test_many_are_made_and_listed_by_pages(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop)
    monthly, yearly = shop.price(1900), shop.price(19000, interval="year")
    receiver.wait_for("price.created", times=2)
    before = len(shop.events())
    made = make(
        shop, count=301, prices=[monthly.id, [yearly.id, monthly.id]], quantity=2, metadata={"user": "u{n}"}
    )
    assert made["created"] == 301
    assert len(shop.events()) == before, "nothing is announced"
    found = walk(shop)
    assert (found[-1].id, found[0].id) == (made["first"], made["last"])
    assert [each.metadata["user"] for each in found] == [f"u{n}" for n in range(300, -1, -1)]
    assert {each.status for each in found} == {"active"}
    assert len({each["items"].data[0].current_period_end for each in found}) > 290, (
        "they renew at their times"
    )
    assert len(walk(shop, price=yearly.id)) == 150
    assert len(walk(shop, price=monthly.id)) == 301
    both = shop.stripe.subscriptions.retrieve(found[1].id, {"expand": ["customer"]})
    assert [item.price.id for item in both["items"].data] == [yearly.id, monthly.id]
    assert both["items"].data[0].quantity == 2
    assert both.customer.email == "buyer299@example.com"  # type: ignore[union-attr]


@pytest.mark.parametrize("status", ["active", "trialing", "past_due", "canceled"])
@pytest.mark.parametrize("invoices", [True, False])
def test_each_status(shop: Shop, status: str, invoices: bool) -> None:
    make(shop, count=2, prices=[shop.price(1900).id], status=status, invoices=invoices)
    for subscription in walk(shop, status="all"):
        assert subscription.status == status
        billed = shop.stripe.invoices.list({"subscription": subscription.id}).data
        assert bool(billed) is invoices
        assert subscription["items"].data[0].current_period_start <= now(shop)
        if invoices:
            assert billed[0].status == ("open" if status == "past_due" else "paid")
            assert billed[0].amount_due == (0 if status == "trialing" else 1900)


def test_they_renew_with_the_clock(shop: Shop) -> None:
    make(shop, count=20, prices=[shop.price(1900).id])
    assert shop.act("advance_clock", seconds=33 * DAY).count("invoice.paid") >= 20


def test_they_are_announced_when_asked_for(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "customer.subscription.created")
    make(shop, count=3, prices=[shop.price(1900).id], events=True)
    receiver.wait_for("customer.subscription.created", times=3)


def test_odd_orders_are_refused(shop: Shop, stand: Stand) -> None:
    price, once = shop.price().id, shop.price(interval=None).id
    good = {"count": 1, "prices": [price]}
    odd_orders: tuple[dict[str, Any], ...] = (
        {"count": 0},
        {"count": 100_001},
        {"count": 5_001, "invoices": True},
        {"count": "many"},
        {"count": True},
        {"prices": []},
        {"prices": [[]]},
        {"prices": ["price_no"]},
        {"prices": [once]},
        {"quantity": -1},
        {"status": "asleep"},
        {"metadata": {"a": 1}},
        {"colour": "red"},
    )
    for odd in odd_orders:
        refused = shop.control("POST", "/subscriptions", json={**good, **odd})
        assert refused.status_code in {400, 404}, odd
    assert walk(shop) == []
