"""What the price of a subscription's item means: versions of terms, and prices that no product has."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, ProductPrice
from tests.entitlements.fixtures_purchases import DAY, GRANTED, MONTH, NEW, Sale, unix
from tests.entitlements.rows import row
from tests.support.clock import START
from tests.support.invoice_lines import period_line, proration_line

END = START + MONTH
HOUR = timedelta(hours=1)


@pytest.fixture
def sale(open_sale: Any) -> Sale:
    """A subscription in its first, paid month, with three days of grace."""
    sold: Sale = open_sale(grace_days=3)
    return sold.subscribed()


@pytest.mark.parametrize("order", ["as sent", "reversed", "shuffled"])
@row("subscription.terms")
def test_a_return_to_a_price_brings_the_terms_of_that_time(sale: Sale, order: str) -> None:
    storefront, price = sale.storefront, sale.attempt.sold["stripe_price_id"]
    larger = storefront.product(Kind.SUBSCRIPTION)
    storefront.new_terms(larger, at=START + 3 * DAY)
    with storefront.record() as events:
        for day, each in ((1, larger.prices[0].stripe_price_id), (2, price)):
            sale.subscription("active", at=START + day * DAY, items={"si": each})
        for day in (4, 5):
            items = {"si": larger.prices[0].stripe_price_id}
            sale.subscription("active", at=START + day * DAY, items=items)
    if order == "reversed":
        events.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(events)
    for event in events:
        storefront.deliver(event)
    held = sale.row()
    assert (held.product_code, held.terms_version) == (larger.product_code, 2)
    assert held.features == ["version_2"]


@row("subscription.terms")
def test_an_item_that_keeps_its_price_keeps_its_terms(sale: Sale) -> None:
    larger = sale.storefront.product(Kind.SUBSCRIPTION)
    sale.subscription("active", at=START + DAY, items={"si": larger.prices[0].stripe_price_id})
    sale.storefront.new_terms(larger, at=START + 2 * DAY)
    sale.subscription("active", at=START + 3 * DAY, quantity=2)
    sale.renewed()
    assert (sale.row().terms_version, sale.row().quantity) == (1, 2)


@row("subscription.terms")
def test_in_grace_the_version_that_was_paid_for_counts(sale: Sale) -> None:
    """The plan was left and taken up again since, with no payment for either."""
    storefront, price = sale.storefront, sale.attempt.sold["stripe_price_id"]
    larger = storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    mine = larger.prices[0].stripe_price_id
    sale.subscription("active", at=START + DAY, items={"si": mine})
    sale.renewed()
    storefront.new_terms(larger, at=END + 2 * DAY, grace_days=9)
    sale.subscription("active", period=2, at=END + DAY, items={"si": price})
    sale.subscription("active", period=2, at=END + 3 * DAY, items={"si": mine})
    assert sale.row().terms_version == 2
    sale.invoice("payment_failed", period=3, at=END + MONTH)
    sale.subscription("past_due", period=3, at=END + MONTH)
    assert (sale.row().terms_version, sale.row().valid_until) == (1, END + MONTH + 5 * DAY)


def unknown_of(sale: Sale) -> dict[str, Any]:
    """A price that nobody has mapped, of the same Stripe product as the one that was sold."""
    with sale.storefront.database.read() as db:
        known = db.exec(
            select(ProductPrice).where(ProductPrice.stripe_price_id == sale.attempt.sold["stripe_price_id"])
        ).one()
        return {"id": f"price_unknown_{sale.tag}", "product": known.stripe_product_id}


@row("subscription.same_product")
def test_an_unknown_price_of_the_same_stripe_product_keeps_the_product_and_its_grace(sale: Sale) -> None:
    sale.subscription("active", at=START + DAY, items={"si": unknown_of(sale)})
    assert (sale.row().product_code, sale.row().valid_until) == (sale.attempt.product_code, END)
    sale.renewed()
    sale.invoice("payment_failed", period=3, at=END + MONTH)
    sale.subscription("past_due", period=3, at=END + MONTH)
    held = sale.row()
    assert (held.product_code, held.valid_until) == (sale.attempt.product_code, END + MONTH + 3 * DAY)
    assert sale.standing_at(END + MONTH + 2 * DAY) == ("past_due", True, None)


@row("subscription.same_product", "grace.last_paid")
def test_what_was_paid_at_such_a_price_counts_in_grace_of_another_product(sale: Sale) -> None:
    """The plan changes on to another product, which is not paid."""
    sale.subscription("active", at=START + DAY, items={"si": unknown_of(sale)})
    sale.renewed()
    larger = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    items = {"si": larger.prices[0].stripe_price_id}
    sale.subscription("past_due", period=2, at=END + 9 * DAY, items=items, latest_invoice=sale.invoice_id(8))
    held = sale.row()
    assert (held.product_code, held.valid_until) == (sale.attempt.product_code, END + MONTH)


@row("subscription.same_product")
def test_an_unknown_price_begins_no_entitlement_whatever_its_stripe_product(sale: Sale) -> None:
    price = sale.attempt.sold["stripe_price_id"]
    sale.subscription("active", at=START + DAY, items={"si": price, "sx": unknown_of(sale)})
    assert sale.standing_at(START + DAY) == GRANTED, "there is one entitlement"


@pytest.mark.parametrize("names", ["item", "price"])
@row("subscription.unmapped")
def test_a_failure_at_an_unknown_price_leaves_what_was_paid_before_it(sale: Sale, names: str) -> None:
    """The change to it was paid; then more seats are not."""
    items = {"si": "price_unmapped"}
    sale.subscription("active", at=START + DAY, items=items, latest_invoice=sale.invoice_id(8))
    line = proration_line(
        f"si_{sale.tag}" if names == "item" else None,
        unix(START + DAY),
        unix(END),
        newer=sale.shape == NEW,
        amount=500,
        price="price_unmapped",
    )
    reason = "subscription_update"
    lines = {"data": [line]}
    sale.invoice("paid", period=8, at=START + DAY, billing_reason=reason, lines=lines)
    sale.subscription("past_due", at=START + 2 * DAY, quantity=4, latest_invoice="in_seats")
    held = sale.row()
    assert (held.product_code, held.quantity, held.valid_until) == (sale.attempt.product_code, 1, END)
    assert sale.standing_at(END - HOUR) == ("past_due", True, None)
    assert sale.standing_at(END) == ("past_due", False, "product_changed")


@pytest.mark.parametrize("names_price", [True, False])
@pytest.mark.parametrize("seconds", [0, 59, 61])
@row("subscription.unmapped")
def test_a_year_at_an_unknown_price_that_is_paid_at_once_begins_no_year_of_ours(
    sale: Sale, seconds: int, names_price: bool
) -> None:
    at, newer = START + 9 * DAY, sale.shape == NEW
    year = (unix(at), unix(at + 365 * DAY))
    sale.subscription("active", at=at, items={"si": "price_unmapped"}, latest_invoice=sale.invoice_id(8))
    own = period_line(f"si_{sale.tag}", "price_unmapped", *year, newer=newer, amount=9000)
    if not names_price:
        own.pop("pricing" if newer else "price")
    lines = {"data": [own]}
    paid = at + timedelta(seconds=seconds)
    sale.invoice("paid", period=8, at=paid, billing_reason="subscription_update", lines=lines)
    assert sale.row().valid_until == END
    assert sale.standing_at(END) == ("canceled", False, "product_changed")
