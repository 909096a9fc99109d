"""Invoices of a subscription: which began a period, which did not, and when grace begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import State
from tests.entitlements.fixtures_purchases import DAY, GRANTED, MONTH, NEW, Sale, unix
from tests.entitlements.rows import row
from tests.support.clock import START
from tests.support.invoice_lines import one_off, period_line

END = START + MONTH
HOUR = timedelta(hours=1)
SLACK = timedelta(hours=72)


@pytest.fixture
def sale(open_sale: Any) -> Sale:
    """A subscription in its first, paid month, with three days of grace."""
    sold: Sale = open_sale(grace_days=3)
    return sold.subscribed()


@row("invoice.other_lines")
def test_a_manual_invoice_begins_no_period(open_sale: Any) -> None:
    sale = open_sale()
    sale.subscription("active", event_name="created", collection_method="send_invoice")
    lines = {"data": [one_off(50, start=unix(START), until=unix(START), newer=sale.shape == NEW)]}
    sale.invoice("paid", period=9, at=START + DAY, billing_reason="manual", lines=lines)
    assert sale.entitlements() == []


@row("invoice.other_lines")
def test_a_setup_fee_with_a_long_period_does_not_make_the_first_invoice_the_current_one(
    open_sale: Any,
) -> None:
    sale = open_sale()
    price, newer = sale.attempt.sold["stripe_price_id"], sale.shape == NEW
    own = period_line(f"si_{sale.tag}", price, unix(START), unix(END), newer=newer)
    fee = one_off(8700, start=unix(START), until=unix(START + 365 * DAY), newer=newer)
    sale.subscription("active", event_name="created")
    sale.invoice("paid", lines={"data": [fee, own]})
    sale.renewed()
    sale.dispute("needs_response", period=1, at=END + DAY)
    assert sale.standing_at(END + DAY) == GRANTED, "it is of an earlier period"
    sale.dispute("needs_response", period=2, at=END + 2 * DAY)
    assert sale.standing_at(END + 2 * DAY) == ("past_due", False, "disputed")


@row("invoice.more_lines")
def test_an_invoice_whose_lines_are_not_all_known_stands_for_its_period(sale: Sale) -> None:
    """The event has the first ten lines, all of them prorations of the period before."""
    sale.subscription("active", period=2, at=END)
    lines = {
        "has_more": True,
        "data": [one_off(100, start=unix(START), until=unix(END), newer=sale.shape == NEW)] * 10,
    }
    sale.invoice("paid", period=2, at=END + HOUR, lines=lines)
    sale.dispute("needs_response", period=1, at=END + DAY)
    assert sale.standing_at(END + DAY) == GRANTED
    sale.dispute("needs_response", period=2, at=END + DAY)
    assert sale.standing_at(END + DAY) == ("past_due", False, "disputed")


@pytest.mark.parametrize("restarts", [True, False])
@row("invoice.more_lines")
def test_a_change_with_more_lines_begins_a_period_only_where_the_cycle_restarts(
    sale: Sale, restarts: bool
) -> None:
    at, newer = (END if restarts else END - DAY), sale.shape == NEW
    sale.subscription("active", period=2 if restarts else 1, at=at, latest_invoice=sale.invoice_id(8))
    lines = [one_off(100, start=unix(START), until=unix(END), newer=newer)] * 10
    sale.invoice(
        "paid",
        period=8,
        at=at,
        billing_reason="subscription_update",
        lines={"has_more": True, "data": lines},
    )
    sale.dispute("needs_response", period=8, at=at + HOUR)
    taken = ("past_due", False, "disputed")
    assert sale.standing_at(at + HOUR) == (taken if restarts else GRANTED)


@pytest.mark.parametrize("lines", ["no list", {"data": "no list"}, {"data": ["no line"]}])
@row("invoice.more_lines")
def test_lines_that_cannot_be_read_are_lines_that_are_not_known(sale: Sale, lines: Any) -> None:
    sale.subscription("active", period=2, at=END)
    kept = sale.invoice("paid", period=2, at=END + HOUR, lines=lines)
    assert (kept.note or "").startswith("None of the invoice's lines can be read")
    sale.dispute("needs_response", period=2, at=END + DAY)
    assert sale.standing_at(END + DAY) == ("past_due", False, "disputed")


@row("invoice.items")
def test_each_item_has_the_periods_of_its_own_lines(sale: Sale) -> None:
    """A yearly plan and a monthly extra on one subscription."""
    extra = sale.storefront.product(open_kind := sale.row().kind)
    price, newer = sale.attempt.sold["stripe_price_id"], sale.shape == NEW
    assert open_kind == "subscription"
    extra_price = extra.prices[0].stripe_price_id
    items = {"si": price, "sx": extra_price}
    sale.subscription("active", at=START + HOUR, items=items)
    year = period_line(f"si_{sale.tag}", price, unix(START), unix(START + 365 * DAY), newer=newer)
    month = period_line(f"sx_{sale.tag}", extra_price, unix(START), unix(END), newer=newer)
    sale.invoice("paid", lines={"data": [year, month]})
    renewal = period_line(f"sx_{sale.tag}", extra_price, unix(END), unix(END + MONTH), newer=newer)
    sale.invoice("paid", period=2, at=END + HOUR, lines={"data": [renewal]})
    sale.dispute("needs_response", period=2, at=END + DAY)
    states = {each.product_code: each.state for each in sale.entitlements()}
    assert states == {sale.attempt.product_code: State.ACTIVE, extra.product_code: State.SUSPENDED}


@row("invoice.items")
def test_an_item_is_not_paid_for_by_the_invoice_of_another(open_sale: Any) -> None:
    """The first invoice was sent and is open; an extra with a period of its own is paid at once."""
    sale = open_sale()
    extra = sale.storefront.product(Kind.SUBSCRIPTION)
    items = {"si": sale.attempt.sold["stripe_price_id"], "sx": extra.prices[0].stripe_price_id}
    sale.subscription("active", event_name="created", collection_method="send_invoice")
    sale.session(paid="unpaid")
    sale.subscription("active", at=START + 7 * DAY, items=items, latest_invoice=sale.invoice_id(8))
    span = (unix(START + 7 * DAY), unix(END + 7 * DAY))
    line = period_line(f"sx_{sale.tag}", items["sx"], *span, newer=sale.shape == NEW)
    reason, at = "subscription_update", START + 7 * DAY
    sale.invoice("paid", period=8, at=at, billing_reason=reason, lines={"data": [line]})
    assert [each.product_code for each in sale.entitlements()] == [extra.product_code]
    sale.invoice("paid", at=START + 9 * DAY)
    assert {each.product_code for each in sale.entitlements()} == {
        extra.product_code,
        sale.attempt.product_code,
    }


@row("invoice.items", "kind:subscription")
def test_an_item_without_a_line_on_the_first_invoice_begins_with_it(open_sale: Any) -> None:
    """As one that is billed by its use has none."""
    sale = open_sale()
    extra = sale.storefront.product(Kind.SUBSCRIPTION)
    price = sale.attempt.sold["stripe_price_id"]
    own = period_line(f"si_{sale.tag}", price, unix(START), unix(END), newer=sale.shape == NEW)
    items = {"si": price, "sx": extra.prices[0].stripe_price_id}
    sale.subscription("active", event_name="created", items=items)
    assert sale.entitlements() == []
    sale.invoice("paid", lines={"data": [own]})
    assert len(sale.entitlements()) == 2


@row("grace.other_invoice")
def test_the_payment_of_another_invoice_does_not_begin_grace_anew(sale: Sale) -> None:
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR)
    seat = {"data": [one_off(100, start=unix(START), until=unix(END + MONTH), newer=sale.shape == NEW)]}
    sale.invoice("paid", period=7, at=END + 2 * DAY, billing_reason="subscription_update", lines=seat)
    sale.invoice("payment_failed", period=2, at=END + 3 * DAY)
    assert sale.row().valid_until == END + HOUR + 3 * DAY


@row("grace.other_invoice")
def test_grace_ends_with_a_scheduled_cancel(sale: Sale) -> None:
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR, cancel_at=unix(END + DAY))
    assert sale.row().valid_until == END + DAY
    assert sale.standing_at(END + DAY) == ("past_due", False, "canceled")


@row("grace.overdue")
def test_a_renewal_by_invoice_is_in_grace_once_it_is_overdue(sale: Sale) -> None:
    sale.subscription("active", period=2, at=END, collection_method="send_invoice")
    assert sale.standing_at(END + 14 * DAY) == GRANTED
    sale.subscription("past_due", period=2, at=END + 14 * DAY, collection_method="send_invoice")
    assert sale.row().valid_until == END + 17 * DAY
    sale.invoice("overdue", period=2, at=END + 14 * DAY, status="open", amount_paid=0)
    assert sale.row().valid_until == END + 17 * DAY


@row("grace.never_paid")
@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_a_subscription_whose_first_payment_failed_has_nothing(open_sale: Any, status: str) -> None:
    """A bank debit: the subscription is active at once, and the debit fails days later."""
    sale = open_sale(grace_days=7)
    sale.subscription("active", event_name="created")
    sale.session(paid="unpaid")
    sale.invoice("payment_failed", at=START + 5 * DAY)
    sale.subscription(status, at=START + 5 * DAY)
    assert sale.entitlements() == []


@row("grace.never_paid")
def test_after_a_trial_that_nobody_paid_for_there_is_no_grace(open_sale: Any) -> None:
    sale = open_sale(grace_days=7)
    sale.subscription("trialing", event_name="created", trial_end=unix(END))
    sale.invoice("paid", amount_paid=0)
    assert sale.standing_at(END - HOUR) == ("trialing", True, None)
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR)
    assert sale.standing_at(END + HOUR) == ("past_due", False, "past_due")


@row("subscription.fixed_term")
def test_a_cancel_far_away_does_not_outlast_an_unconfirmed_period(sale: Sale) -> None:
    sale.subscription("active", at=START + DAY, cancel_at=unix(START + 365 * DAY))
    assert sale.row().valid_until == END
    assert sale.standing_at(END + SLACK - HOUR) == GRANTED
    assert sale.standing_at(END + SLACK) == ("expired", False, "renewal_unconfirmed")


@row("quantity.zero")
def test_no_seats_give_no_access(sale: Sale) -> None:
    sale.subscription("active", at=START + DAY, quantity=0)
    assert sale.row().quantity == 0
    assert sale.standing_at(START + DAY) == ("suspended", False, "quantity_zero")
    sale.subscription("active", at=START + 2 * DAY, quantity=2)
    assert sale.standing_at(START + 2 * DAY) == GRANTED


@row("clock.ahead")
def test_what_stripe_says_has_begun_has_begun(open_sale: Any) -> None:
    """Stripe's clock is two minutes ahead of this server's."""
    sale = open_sale()
    ahead = START + timedelta(minutes=2)
    sale.subscription("active", event_name="created", at=ahead, start_date=unix(ahead))
    sale.invoice("paid", at=ahead)
    assert sale.standing_at(START) == GRANTED
    assert sale.row().starts_at == START


@row("clock.ahead")
def test_a_start_that_is_further_away_is_one(open_sale: Any) -> None:
    sale = open_sale()
    later = START + timedelta(seconds=301)
    sale.subscription("active", event_name="created", at=later, start_date=unix(later))
    sale.invoice("paid", at=later)
    assert sale.standing_at(START) == ("active", False, "not_started")
