"""In grace the last payment of each item decides: which product, how many, and until when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from tests.entitlements.fixtures_purchases import DAY, MONTH, NEW, Sale, unix
from tests.entitlements.rows import row
from tests.support.clock import START
from tests.support.invoice_lines import one_off, period_line, proration_line

END = START + MONTH
HOUR = timedelta(hours=1)


@pytest.fixture
def sale(open_sale: Any) -> Sale:
    """A subscription in its first, paid month, with three days of grace."""
    sold: Sale = open_sale(grace_days=3)
    return sold.subscribed()


def renewal_fails(sale: Sale, *, at: datetime = END + HOUR, **terms: Any) -> None:
    sale.invoice("payment_failed", period=2, at=at)
    sale.subscription("past_due", period=2, at=at, **terms)


def manual_invoice(sale: Sale, *, at: datetime) -> None:
    line = {"amount": 50, "period": {"start": unix(at), "end": unix(at)}}
    of_none = {"parent": {"invoice_item_details": {"proration": False}}}
    kind = of_none if sale.shape == NEW else {"type": "invoiceitem"}
    sale.invoice("paid", period=9, at=at, billing_reason="manual", lines={"data": [{**line, **kind}]})


def paid_change(sale: Sale, *lines: dict[str, Any], at: datetime, has_more: bool = False) -> None:
    """The invoice of a change within the first period is paid."""
    data = {"has_more": has_more, "data": list(lines)}
    reason = "subscription_update"
    sale.invoice("paid", period=8, at=at, billing_reason=reason, lines=data)


@row("grace.last_paid")
def test_a_manual_invoice_pays_for_no_change_of_seats(sale: Sale) -> None:
    sale.subscription("active", at=START + DAY, quantity=7)
    manual_invoice(sale, at=START + 2 * DAY)
    renewal_fails(sale)
    assert sale.row().quantity == 1


@row("grace.last_paid")
def test_seats_that_were_changed_before_a_late_payment_are_not_paid_for(sale: Sale) -> None:
    sale.subscription("active", period=2, at=END)
    sale.subscription("active", period=2, at=END + DAY, quantity=7)
    sale.invoice("paid", period=2, at=END + 2 * DAY)
    sale.invoice("payment_failed", period=3, at=END + MONTH)
    sale.subscription("past_due", period=3, at=END + MONTH)
    assert sale.row().quantity == 1


@pytest.mark.parametrize("names", ["item", "price", "nothing"])
@pytest.mark.parametrize("fails", ["the renewal", "more seats"])
@row("grace.last_paid", "invoice.unnamed")
def test_a_paid_change_counts_whatever_its_line_names(sale: Sale, names: str, fails: str) -> None:
    """Invoice items name no subscription item; what was changed with the invoice is what they bill."""
    larger = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    extra = sale.storefront.product(Kind.SUBSCRIPTION)
    items = {"si": sale.attempt.sold["stripe_price_id"], "sx": extra.prices[0].stripe_price_id}
    sale.subscription("active", at=START + DAY, items=items)
    items = {**items, "si": larger.prices[0].stripe_price_id}
    at = START + 2 * DAY
    sale.subscription("active", at=at, items=items, quantity=3, latest_invoice=sale.invoice_id(8))
    named: dict[str, Any] = {"price": items["si"], "quantity": 3} if names != "nothing" else {}
    charge, credit = (
        proration_line(
            f"si_{sale.tag}" if names == "item" else None,
            unix(at),
            unix(END),
            newer=sale.shape == NEW,
            amount=amount,
            **named,
        )
        for amount in (900, -300)
    )
    paid_change(sale, credit, charge, at=at)
    if fails == "the renewal":
        sale.terms.pop("latest_invoice")
        renewal_fails(sale)
    else:
        sale.subscription("past_due", at=START + 9 * DAY, quantity=7, latest_invoice="in_seats")
    held = next(each for each in sale.entitlements() if each.item_key == f"si_{sale.tag}")
    assert (held.product_code, held.quantity) == (larger.product_code, 3)
    assert held.valid_until == (END + HOUR + 5 * DAY if fails == "the renewal" else END)


@row("grace.last_paid", "invoice.unnamed")
def test_the_paid_change_of_one_item_pays_for_no_other(sale: Sale) -> None:
    """The line names neither item nor price, and both items are in the same period."""
    extra = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    items = {"si": sale.attempt.sold["stripe_price_id"], "sx": extra.prices[0].stripe_price_id}
    sale.subscription("active", at=START + DAY, items=items)
    larger = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    items["si"] = larger.prices[0].stripe_price_id
    sale.subscription("active", at=START + 2 * DAY, items=items, latest_invoice=sale.invoice_id(8))
    span = (unix(START + 2 * DAY), unix(END))
    change = proration_line(None, *span, newer=sale.shape == NEW, amount=300)
    paid_change(sale, change, at=START + 2 * DAY)
    sale.terms.pop("latest_invoice")
    renewal_fails(sale)
    until = {each.product_code: each.valid_until for each in sale.entitlements()}
    assert until == {larger.product_code: END + HOUR + 5 * DAY, extra.product_code: END + HOUR}


@row("grace.last_paid", "invoice.unnamed")
def test_a_proration_on_a_later_invoice_bills_what_was_changed_when_it_begins(sale: Sale) -> None:
    """Both items are changed, on two days; the invoice that is paid is about the second change alone."""
    one, two, larger, other = (
        sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5).prices[0].stripe_price_id for _ in range(4)
    )
    sale = sale.storefront.sell(sale.storefront.product(Kind.SUBSCRIPTION), shape=sale.shape)
    sale.subscription("active", event_name="created", items={"si": one, "sx": two})
    sale.invoice("paid")
    sale.subscription("active", at=START + 5 * DAY, items={"si": other, "sx": two})
    sale.subscription("active", at=START + 9 * DAY, items={"si": other, "sx": larger})
    span = (unix(START + 9 * DAY), unix(END))
    paid_change(sale, proration_line(None, *span, newer=sale.shape == NEW, amount=300), at=START + 10 * DAY)
    renewal_fails(sale)
    codes = [each.product_code for each in sale.entitlements()]
    assert codes == [sale.storefront.code_of(one), sale.storefront.code_of(larger)]


@row("grace.last_paid", "invoice.unnamed")
def test_a_line_that_names_a_price_bills_the_item_that_had_it_when_its_time_begins(sale: Sale) -> None:
    """Two items have exchanged their prices, so both had each of them at some time."""
    storefront, newer = sale.storefront, sale.shape == NEW
    one, two, three = (
        storefront.product(Kind.SUBSCRIPTION, grace_days=5).prices[0].stripe_price_id for _ in range(3)
    )
    sale = storefront.sell(storefront.product(Kind.SUBSCRIPTION), shape=sale.shape)
    sale.subscription("active", event_name="created", items={"si": one, "sx": two})
    sale.invoice("paid")
    for day, items in ((5, (three, two)), (6, (three, one)), (7, (two, one))):
        at = START + day * DAY
        sale.subscription("active", at=at, items=dict(zip(("si", "sx"), items, strict=True)))
    sale.subscription("active", period=2, at=END)
    lines = [
        without_item(period_line("", price, unix(END), unix(END + MONTH), newer=newer))
        for price in (one, two)
    ]
    sale.invoice("paid", period=2, at=END + HOUR, lines={"data": lines})
    sale.invoice("payment_failed", period=3, at=END + MONTH)
    sale.subscription("past_due", period=3, at=END + MONTH)
    codes = {each.item_key: each.product_code for each in sale.entitlements()}
    assert codes == {f"si_{sale.tag}": storefront.code_of(two), f"sx_{sale.tag}": storefront.code_of(one)}


def without_item(line: dict[str, Any]) -> dict[str, Any]:
    """A line of a period as it comes when it does not name the item."""
    line.pop("subscription_item", None)
    line.get("parent", {}).get("subscription_item_details", {}).pop("subscription_item", None)
    return line


@row("grace.last_paid", "invoice.more_lines")
def test_a_paid_change_with_more_lines_than_its_event_holds_counts(sale: Sale) -> None:
    sale.subscription("active", at=START + DAY, quantity=4, latest_invoice=sale.invoice_id(8))
    span = (unix(START + DAY), unix(END))
    lines = [proration_line(f"si_{sale.tag}", *span, newer=sale.shape == NEW, amount=100)] * 10
    paid_change(sale, *lines, at=START + DAY, has_more=True)
    sale.terms.pop("latest_invoice")
    renewal_fails(sale)
    assert sale.row().quantity == 4


@row("grace.last_paid", "invoice.other_lines")
def test_a_fee_that_names_no_item_pays_for_no_change(sale: Sale) -> None:
    sale.subscription("active", at=START + DAY, quantity=7, latest_invoice=sale.invoice_id(8))
    fee = one_off(500, start=unix(START), until=unix(END), newer=sale.shape == NEW)
    paid_change(sale, fee, at=START + DAY)
    sale.terms.pop("latest_invoice")
    renewal_fails(sale)
    assert sale.row().quantity == 1


@row("grace.last_paid")
def test_an_item_that_was_never_paid_for_has_no_grace(sale: Sale) -> None:
    """Another item's change was paid after it was added."""
    extra = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    price, newer = sale.attempt.sold["stripe_price_id"], sale.shape == NEW
    sale.subscription("active", at=START + DAY, items={"si": price, "sx": extra.prices[0].stripe_price_id})
    span = (unix(START + 2 * DAY), unix(END))
    change = proration_line(f"si_{sale.tag}", *span, newer=newer, amount=300)
    sale.invoice(
        "paid", period=8, at=START + 2 * DAY, billing_reason="subscription_update", lines={"data": [change]}
    )
    renewal_fails(sale)
    until = {each.product_code: each.valid_until for each in sale.entitlements()}
    assert until == {sale.attempt.product_code: END + HOUR + 3 * DAY, extra.product_code: END + HOUR}


@row("grace.last_paid")
def test_a_change_from_an_unmapped_price_that_is_not_paid_gives_nothing(sale: Sale) -> None:
    price = sale.attempt.sold["stripe_price_id"]
    sale.subscription("active", at=START + DAY, items={"si": price, "sx": "price_unmapped"})
    sale.renewed()
    items = {"si": price, "sx": price}
    sale.subscription("past_due", period=2, at=END + DAY, items=items, latest_invoice="in_of_the_change")
    paid, unpaid = sale.entitlements()
    assert (paid.valid_until, unpaid.valid_until) == (END + MONTH, END + DAY)


@row("quantity.zero")
def test_no_seats_give_no_access_in_grace_either(sale: Sale) -> None:
    renewal_fails(sale, quantity=0)
    assert sale.standing_at(END + HOUR) == ("suspended", False, "quantity_zero")


@row("grace.never_paid")
def test_a_manual_invoice_after_a_trial_is_no_payment_of_it(open_sale: Any) -> None:
    sale = open_sale(grace_days=7)
    sale.subscription("trialing", event_name="created", trial_end=unix(END))
    sale.invoice("paid", amount_paid=0)
    manual_invoice(sale, at=START + DAY)
    renewal_fails(sale)
    assert sale.standing_at(END + HOUR) == ("past_due", False, "past_due")


@pytest.mark.parametrize("fee_is_billed", ["at the start", "within the trial"])
@pytest.mark.parametrize("has_invoice", [True, False])
@row("grace.never_paid")
def test_a_fee_that_is_paid_with_a_trial_is_no_payment_of_it(
    open_sale: Any, fee_is_billed: str, has_invoice: bool
) -> None:
    sale = open_sale(grace_days=7)
    sale.subscription("trialing", event_name="created", trial_end=unix(END))
    newer, price = sale.shape == NEW, sale.attempt.sold["stripe_price_id"]
    own = period_line(f"si_{sale.tag}", price, unix(START), unix(END), newer=newer, amount=0)
    fee = one_off(5000, start=unix(START), until=unix(START), newer=newer)
    if fee_is_billed == "at the start":
        sale.session(amount_total=5000)
        if has_invoice:
            sale.invoice("paid", amount_paid=5000, lines={"data": [own, fee]})
    else:
        sale.session(paid="no_payment_required", amount_total=0)
        sale.invoice("paid", amount_paid=0, lines={"data": [own]})
        paid_change(sale, fee, at=START + DAY)
    assert sale.standing_at(END - HOUR) == ("trialing", True, None)
    sale.subscription("active", period=2, at=END)
    renewal_fails(sale)
    assert sale.standing_at(END + HOUR) == ("past_due", False, "past_due")


@row("grace.never_paid")
def test_a_trial_that_was_ended_early_lasts_no_longer_when_nothing_is_paid(open_sale: Any) -> None:
    sale = open_sale(grace_days=7)
    sale.subscription("trialing", event_name="created", trial_end=unix(END))
    price, newer = sale.attempt.sold["stripe_price_id"], sale.shape == NEW
    own = period_line(f"si_{sale.tag}", price, unix(START), unix(END), newer=newer, amount=0)
    sale.invoice("paid", amount_paid=0, lines={"data": [own]})
    at = START + 9 * DAY
    sale.invoice("payment_failed", period=2, at=at)
    sale.subscription("past_due", period=2, at=at, trial_end=unix(at))
    assert sale.standing_at(at) == ("past_due", False, "past_due")


@row("invoice.more_lines")
def test_an_item_that_is_gone_is_not_among_lines_that_are_not_known(open_sale: Any) -> None:
    """It was never paid for itself: another item has its own invoices."""
    sale = open_sale()
    extra, newer = sale.storefront.product(Kind.SUBSCRIPTION), sale.shape == NEW
    items = {"si": sale.attempt.sold["stripe_price_id"], "sx": extra.prices[0].stripe_price_id}
    sale.subscription("active", event_name="created", collection_method="send_invoice")
    sale.subscription("active", at=START + DAY, items=items)
    own = period_line(f"sx_{sale.tag}", items["sx"], unix(START), unix(END), newer=newer)
    paid_change(sale, own, at=START + DAY)
    del items["si"]
    sale.subscription("active", at=START + 2 * DAY, items=items)
    sale.subscription("active", period=2, at=END)
    old = proration_line(f"sx_{sale.tag}", unix(START), unix(END), newer=newer, amount=100)
    lines = {"has_more": True, "data": [old] * 10}
    sale.invoice("paid", period=2, at=END, created=unix(END), lines=lines)
    assert [each.product_code for each in sale.entitlements()] == [extra.product_code]


@row("subscription.scheduled_cancel")
def test_a_cancel_at_the_end_of_the_period_that_is_not_paid(sale: Sale) -> None:
    renewal_fails(sale, cancel_at_period_end=True)
    assert sale.row().cancel_at == END + MONTH
    assert sale.standing_at(END + DAY) == ("past_due", True, None)


@row("subscription.scheduled_cancel")
def test_the_earlier_of_two_scheduled_cancels_counts(sale: Sale) -> None:
    far = unix(START + 365 * DAY)
    sale.subscription("active", at=START + DAY, cancel_at=far, cancel_at_period_end=True)
    assert sale.row().valid_until == END


@row("invoice.more_lines")
def test_an_item_that_is_added_later_is_not_among_lines_that_are_not_known(sale: Sale) -> None:
    extra = sale.storefront.product(Kind.SUBSCRIPTION)
    price, newer = sale.attempt.sold["stripe_price_id"], sale.shape == NEW
    sale.subscription("active", period=2, at=END)
    old = proration_line(f"si_{sale.tag}", unix(START), unix(END), newer=newer, amount=100)
    sale.invoice("paid", period=2, at=END + HOUR, lines={"has_more": True, "data": [old] * 10})
    items = {"si": price, "sx": extra.prices[0].stripe_price_id}
    sale.subscription("active", period=2, at=END + DAY, items=items)
    sale.dispute("needs_response", period=2, at=END + 2 * DAY)
    states = {each.product_code: each.state for each in sale.entitlements()}
    assert states == {sale.attempt.product_code: "suspended", extra.product_code: "active"}


@pytest.mark.parametrize("reads", ["at once", "after it was added"])
@row("invoice.unnamed")
def test_a_line_without_an_item_bills_none_that_was_added_later(sale: Sale, reads: str) -> None:
    """The line's period is that of both items; the charge for the one that was added fails."""
    sale = sale.storefront.sell(sale.storefront.product(Kind.SUBSCRIPTION, grace_days=3), shape=sale.shape)
    extra = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    items = {"si": sale.attempt.sold["stripe_price_id"], "sx": extra.prices[0].stripe_price_id}
    own = period_line("", "", unix(START), unix(END), newer=sale.shape == NEW)
    own = without_item(own)
    for part in ("price", "pricing"):
        own.pop(part, None)

    def send_first_invoice(at: datetime) -> None:
        sale.invoice("paid", at=at, created=unix(START), lines={"data": [own]})

    sale.subscription("incomplete", event_name="created")
    sale.subscription("active", at=START + timedelta(seconds=1))
    if reads == "at once":
        send_first_invoice(START + timedelta(seconds=1))
    sale.subscription("past_due", at=START + 9 * DAY, items=items, latest_invoice=sale.invoice_id(8))
    if reads == "after it was added":
        send_first_invoice(START + 9 * DAY)
    until = {each.product_code: each.valid_until for each in sale.entitlements()}
    assert until == {sale.attempt.product_code: END, extra.product_code: START + 9 * DAY}
