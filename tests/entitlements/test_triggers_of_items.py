"""Items of a subscription that take each other's place: the new one goes on where the old one was."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import Standing, standing
from licenzy.entitlements.models import Entitlement, State
from tests.entitlements.fixtures_purchases import DAY, GRANTED, MONTH, NEW, Sale, unix
from tests.entitlements.rows import row
from tests.support.clock import START
from tests.support.invoice_lines import proration_line

END = START + MONTH
HOUR = timedelta(hours=1)


@pytest.fixture
def sale(open_sale: Any) -> Sale:
    """A subscription in its first, paid month, with three days of grace."""
    sold: Sale = open_sale(grace_days=3)
    return sold.subscribed()


def swap(sale: Sale, *, status: str = "active", **terms: Any) -> str:
    """The item is deleted and another one made in one change; the code of the new one's product."""
    larger = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    items = {"sx": larger.prices[0].stripe_price_id}
    sale.subscription(status, at=START + 9 * DAY, items=items, **terms)
    return larger.product_code


def entitlement(sale: Sale) -> Entitlement:
    return next(each for each in sale.entitlements() if each.item_key == f"sx_{sale.tag}")


def stands(sale: Sale, *, days: int) -> Standing:
    return standing(entitlement(sale), START + days * DAY)


@row("subscription.swapped", "refund.subscription")
def test_a_refund_of_the_period_takes_the_item_that_goes_on_with_it(sale: Sale) -> None:
    code = swap(sale)
    assert (entitlement(sale).product_code, stands(sale, days=9)) == (code, GRANTED)
    sale.refund(at=START + 10 * DAY)
    assert stands(sale, days=10) == ("past_due", False, "refunded")
    sale.operator("lift", at=START + 11 * DAY, item=f"sx_{sale.tag}")
    assert stands(sale, days=11) == GRANTED


@row("subscription.swapped", "operator.lift")
def test_what_was_restored_stays_restored_for_the_item_in_its_place(sale: Sale) -> None:
    sale.refund(at=START + DAY)
    sale.operator("lift", at=START + 2 * DAY, item=f"si_{sale.tag}")
    swap(sale)
    assert stands(sale, days=9) == GRANTED


@row("subscription.swapped", "refund.earlier_period")
def test_a_refund_of_the_change_alone_takes_nothing(sale: Sale) -> None:
    swap(sale, latest_invoice=sale.invoice_id(8))
    at, span = START + 9 * DAY, (unix(START + 9 * DAY), unix(END))
    line = proration_line(f"sx_{sale.tag}", *span, newer=sale.shape == NEW, amount=900)
    reason = "subscription_update"
    sale.invoice("paid", period=8, at=at, billing_reason=reason, lines={"data": [line]})
    sale.refund(at=START + 10 * DAY, period=8)
    assert stands(sale, days=10) == GRANTED


@row("subscription.swapped", "grace.last_paid")
def test_an_unpaid_change_of_the_item_leaves_what_was_paid_before(sale: Sale) -> None:
    swap(sale, status="past_due", latest_invoice=sale.invoice_id(8))
    assert (entitlement(sale).product_code, entitlement(sale).valid_until) == (sale.attempt.product_code, END)
    assert stands(sale, days=20) == ("past_due", True, None)


@row("subscription.swapped", "grace.last_paid")
def test_grace_of_the_item_in_its_place_is_of_what_was_last_paid_for(sale: Sale) -> None:
    swap(sale)
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR)
    until = END + HOUR + 3 * DAY
    assert (entitlement(sale).product_code, entitlement(sale).valid_until) == (
        sale.attempt.product_code,
        until,
    )


@row("subscription.swapped")
def test_an_item_in_the_place_of_one_that_was_never_paid_for_has_nothing(open_sale: Any) -> None:
    sale = open_sale()
    sale.subscription("active", event_name="created", collection_method="send_invoice")
    swap(sale)
    assert sale.entitlements() == []


@row("subscription.swapped", "subscription.items")
def test_an_item_that_was_added_goes_on_with_nothing(sale: Sale) -> None:
    """It has no period of its own yet: the refund of another item's takes nothing of it."""
    extra = sale.storefront.product(Kind.SUBSCRIPTION)
    items = {"si": sale.attempt.sold["stripe_price_id"], "sx": extra.prices[0].stripe_price_id}
    sale.subscription("active", at=START + 9 * DAY, items=items)
    sale.refund(at=START + 10 * DAY)
    assert stands(sale, days=10) == GRANTED


@row("subscription.swapped")
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_an_item_replaced_before_it_was_paid_for_gives_nothing_in_any_order(
    open_sale: Any, order: tuple[int, ...]
) -> None:
    sold: Sale = open_sale(grace_days=3)
    sold.session(paid="unpaid")
    price = sold.attempt.sold["stripe_price_id"]
    with sold.storefront.record() as events:
        sold.subscription("active", at=START + DAY, items={"sx": price}, latest_invoice=None)
        sold.subscription("active", at=START + 2 * DAY, items={"sy": price}, latest_invoice=None)
        line = sold._lines(2, 1200)[0]
        line["parent"] = {"type": "invoice_item_details", "subscription_item_details": None}
        sold.invoice(
            period=2, at=START + 31 * DAY, lines={"object": "list", "has_more": False, "data": [line]}
        )
    paid = next(each for each in events if each["type"] == "invoice.paid")
    states = [each for each in events if each["type"] == "customer.subscription.updated"]
    for number in order:
        sold.storefront.deliver([*states, paid][number])
    present = {each.item_key for each in sold.entitlements() if each.state is not State.CANCELED}
    assert present <= {f"sy_{sold.tag}"}
