"""What refunds and disputes take away and give back, row by row of the documentation."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import State
from tests.entitlements.fixtures_purchases import (
    APPLIED,
    DAY,
    GRANTED,
    MONTH,
    NEW,
    OLD,
    PRICE,
    Sale,
    Storefront,
    unix,
)
from tests.entitlements.rows import row
from tests.support.clock import START
from tests.support.invoice_lines import proration_line

END = START + MONTH
HOUR = timedelta(hours=1)
LATER = START + HOUR
ONE_TIME = pytest.mark.parametrize("kind", [Kind.TIME_PASS, Kind.USAGE_PACK])
NO = {
    "refunded": ("canceled", False, "refunded"),
    "lost": ("canceled", False, "disputed"),
    "disputed": ("suspended", False, "disputed"),
}


@pytest.fixture
def sell(storefront: Storefront, shape: str) -> Any:
    def sell_one(kind: Kind, *, quantity: int = 1, **columns: Any) -> Sale:
        return storefront.sell(storefront.product(kind, **columns), quantity=quantity, shape=shape)

    return sell_one


@pytest.fixture
def member(sell: Any) -> Sale:
    """A subscription in its first, paid month."""
    sale: Sale = sell(Kind.SUBSCRIPTION)
    return sale.subscribed()


def give_back(sale: Sale, *, at: Any = LATER, period: int = 1, reported_by: str = "both") -> None:
    """A full refund, told by its own object, by the sum on its charge alone, or both."""
    if reported_by != "charge":
        sale.refund(at=at, period=period)
    if reported_by != "refund":
        sale.refunded_charge(PRICE * sale.attempt.quantity, at=at, period=period)


REPORTED_BY = pytest.mark.parametrize("reported_by", ["refund", "charge", "both"])


@REPORTED_BY
@row("refund.pass")
def test_a_refunded_pass_ends_now(sell: Any, reported_by: str) -> None:
    sale = sell(Kind.TIME_PASS)
    sale.session()
    give_back(sale, reported_by=reported_by)
    held = sale.row()
    assert (held.state, held.reason, held.canceled_at) == (State.CANCELED, "refunded", LATER)
    assert sale.standing_at(LATER) == NO["refunded"]


@REPORTED_BY
@row("refund.pack")
def test_a_refunded_pack_has_nothing_left(sell: Any, reported_by: str) -> None:
    sale = sell(Kind.USAGE_PACK, quantity=2)
    sale.session()
    give_back(sale, reported_by=reported_by)
    held = sale.row()
    assert (held.state, held.voided_at, held.granted_units) == (State.CANCELED, LATER, 2000)
    assert sale.standing_at(LATER) == NO["refunded"]


@ONE_TIME
@REPORTED_BY
@row("refund.first", "refund.pass", "refund.pack")
def test_a_refund_before_its_purchase(sell: Any, kind: Kind, reported_by: str) -> None:
    sale = sell(kind)
    give_back(sale, reported_by=reported_by)
    kept = sale.refund(at=LATER)
    assert kept.status is APPLIED
    assert kept.note == "Stored until the purchase of its payment is known."
    sale.session()
    assert sale.standing_at(LATER) == NO["refunded"]


@ONE_TIME
@row("refund.partial")
def test_a_partial_refund_changes_nothing(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session()
    before = sale.row()
    for _ in range(3):  # told again and again it is still one refund
        sale.refund(amount=PRICE // 2)
    sale.refunded_charge(PRICE // 2)
    assert sale.row() == before


@ONE_TIME
@row("refund.partial")
def test_partial_refunds_that_come_to_all_of_it(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session()
    sale.refund(amount=PRICE // 2, number=1, at=LATER)
    assert sale.standing_at(LATER) == GRANTED
    sale.refund(amount=PRICE - PRICE // 2, number=2, at=LATER + HOUR)
    assert sale.row().canceled_at == LATER + HOUR


@ONE_TIME
@pytest.mark.parametrize("failure_first", [True, False])
@row("refund.failed")
def test_a_refund_that_fails_later_restores(sell: Any, kind: Kind, failure_first: bool) -> None:
    sale = sell(kind)
    sale.session()
    steps = [lambda: give_back(sale), lambda: sale.refund("failed", at=LATER + 2 * DAY)]
    for step in reversed(steps) if failure_first else steps:
        step()
    held = sale.row()
    assert (held.state, held.reason, held.canceled_at, held.voided_at) == (State.ACTIVE, None, None, None)
    assert sale.standing_at(LATER) == GRANTED


@ONE_TIME
@row("refund.failed")
def test_a_second_refund_after_a_failed_one_known_by_sums_alone(sell: Any, kind: Kind) -> None:
    """The sum on the charge leaves out what had failed by then."""
    sale = sell(kind)
    sale.session()
    sale.refunded_charge(PRICE, at=LATER)
    sale.refund("failed", at=LATER + DAY)
    assert sale.standing_at(LATER) == GRANTED
    sale.refunded_charge(PRICE, at=LATER + 2 * DAY)
    assert sale.row().canceled_at == LATER + 2 * DAY


@ONE_TIME
@row("dispute.one_time")
def test_a_dispute_suspends_a_purchase(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session()
    sale.dispute("needs_response", at=LATER)
    sale.dispute("under_review", at=LATER + DAY, event_name="updated")
    assert (sale.row().state, sale.row().reason) == (State.SUSPENDED, "disputed")
    assert sale.standing_at(LATER) == NO["disputed"]


@ONE_TIME
@row("dispute.one_time", "refund.first")
def test_a_dispute_before_its_purchase(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.dispute("needs_response", at=LATER)
    sale.session()
    assert sale.standing_at(LATER) == NO["disputed"]


@ONE_TIME
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("outcome", ["won", "lost"])
@row("dispute.won", "dispute.lost")
def test_how_a_dispute_ends_whatever_arrives_first(
    sell: Any, kind: Kind, order: tuple[int, ...], outcome: str
) -> None:
    sale = sell(kind)
    steps = [
        lambda: sale.session(),
        lambda: sale.dispute("needs_response", at=LATER),
        lambda: sale.dispute(outcome, at=LATER + DAY),
    ]
    for index in order:
        steps[index]()
    assert sale.standing_at(LATER + HOUR) == (GRANTED if outcome == "won" else NO["lost"])
    assert sale.row().canceled_at == (None if outcome == "won" else LATER + DAY)


@row("dispute.won")
def test_a_lost_dispute_won_after_all(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    sale.session()
    sale.dispute("needs_response", at=LATER)
    sale.dispute("won", at=LATER + 9 * DAY)
    sale.dispute("lost", at=LATER + DAY)
    assert sale.standing_at(LATER) == GRANTED


@ONE_TIME
@row("dispute.inquiry")
def test_an_inquiry_is_only_recorded_unless_it_grows(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session()
    before = sale.row()
    for status in ("warning_needs_response", "warning_under_review", "warning_closed"):
        sale.dispute(status, at=LATER)
        assert sale.row() == before
    grown = sell(kind)
    grown.session()
    grown.dispute("warning_needs_response", at=LATER)
    grown.dispute("needs_response", at=LATER + DAY, event_name="updated")
    assert grown.standing_at(LATER + DAY) == NO["disputed"]


@REPORTED_BY
@row("refund.subscription")
def test_a_refund_of_the_current_period_suspends(member: Sale, reported_by: str) -> None:
    give_back(member, reported_by=reported_by)
    assert (member.row().state, member.row().reason) == (State.SUSPENDED, "refunded")
    assert member.standing_at(LATER) == ("past_due", False, "refunded")
    member.subscription("active", at=LATER + DAY)
    assert member.standing_at(LATER + DAY) == ("past_due", False, "refunded")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@row("refund.subscription", "refund.first")
def test_a_refund_finds_its_subscription_whatever_arrives_first(sell: Any, order: tuple[int, ...]) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    steps = [
        lambda: sale.subscription("active", event_name="created"),
        lambda: sale.invoice("paid"),
        lambda: sale.refund(at=LATER),
    ]
    for index in order:
        steps[index]()
    assert sale.standing_at(LATER) == ("past_due", False, "refunded")


@row("refund.subscription")
def test_suspension_ends_with_the_payment_of_a_later_period(member: Sale) -> None:
    give_back(member, reported_by="refund")
    member.subscription("active", period=2, at=END)
    assert member.standing_at(END) == ("past_due", False, "refunded"), "the roll-over alone pays nothing"
    member.invoice("paid", period=2, at=END + HOUR)
    assert member.standing_at(END + HOUR) == GRANTED


@row("refund.subscription")
def test_suspension_ends_when_the_refund_fails(member: Sale) -> None:
    give_back(member, reported_by="refund")
    member.refund("failed", at=LATER + DAY)
    assert member.standing_at(LATER) == GRANTED


@row("refund.earlier_period")
def test_a_refund_or_dispute_of_an_earlier_period_is_only_recorded(member: Sale) -> None:
    member.renewed()
    before = member.row()
    give_back(member, period=1, at=END + DAY, reported_by="refund")
    member.dispute("needs_response", period=1, at=END + DAY)
    member.dispute("lost", period=1, at=END + 2 * DAY)
    assert member.row() == before


@row("refund.subscription")
def test_a_period_begun_by_a_change_is_the_current_one(member: Sale) -> None:
    """Resuming, or a plan of another interval, starts the cycle anew with an invoice of that reason."""
    member.subscription("active", period=2, at=LATER)
    member.invoice("paid", period=2, at=LATER, billing_reason="subscription_update")
    give_back(member, period=1, at=LATER + HOUR, reported_by="refund")
    assert member.standing_at(LATER + HOUR) == GRANTED, "it is of an earlier period"
    give_back(member, period=2, at=LATER + DAY, reported_by="refund")
    assert member.standing_at(LATER + DAY) == ("past_due", False, "refunded")


@row("refund.earlier_period")
def test_a_refund_of_a_change_within_the_period_is_only_recorded(member: Sale) -> None:
    until = (int(LATER.timestamp()), int(END.timestamp()))
    item = f"si_{member.tag}"
    lines = {"data": [proration_line(item, *until, amount=900, newer=member.shape == NEW)]}
    member.invoice("paid", period=2, at=LATER, billing_reason="subscription_update", lines=lines)
    give_back(member, period=2, at=LATER + DAY, reported_by="refund")
    assert member.standing_at(LATER + DAY) == GRANTED


@row("refund.partial")
def test_a_partial_refund_of_a_subscription_changes_nothing(member: Sale) -> None:
    before = member.row()
    member.refund(amount=PRICE - 1, at=LATER)
    assert member.row() == before


@row("dispute.subscription")
def test_a_dispute_of_the_current_period_suspends_and_winning_it_restores(member: Sale) -> None:
    member.dispute("warning_needs_response", at=LATER)
    assert member.standing_at(LATER) == GRANTED
    member.dispute("needs_response", at=LATER, event_name="updated")
    assert (member.row().state, member.row().reason) == (State.SUSPENDED, "disputed")
    assert member.standing_at(LATER) == ("past_due", False, "disputed")
    member.dispute("won", at=LATER + DAY)
    assert member.standing_at(LATER) == GRANTED


@row("dispute.subscription")
def test_a_lost_dispute_of_the_current_period_cancels(member: Sale) -> None:
    member.dispute("needs_response", at=LATER)
    member.dispute("lost", at=LATER + DAY)
    assert (member.row().state, member.row().canceled_at) == (State.CANCELED, LATER + DAY)
    assert member.standing_at(LATER + DAY) == NO["lost"]


@row("dispute.subscription")
def test_a_paid_later_period_is_access_again(member: Sale) -> None:
    member.dispute("needs_response", at=LATER)
    member.dispute("lost", at=LATER + DAY)
    member.renewed()
    assert member.standing_at(END + HOUR) == GRANTED


@row("operator.lift")
@pytest.mark.parametrize("what", ["refund", "dispute"])
def test_an_operator_lifts_a_suspension_and_a_new_one_counts(member: Sale, what: str) -> None:
    if what == "refund":
        give_back(member, reported_by="refund")
    else:
        member.dispute("needs_response", at=LATER)
    member.operator("lift", at=LATER + HOUR, item=member.row().item_key)
    assert member.standing_at(LATER + HOUR) == GRANTED
    member.renewed()
    member.dispute("needs_response", period=2, at=END + DAY)
    assert member.standing_at(END + DAY) == ("past_due", False, "disputed")


@row("operator.terms")
def test_terms_that_an_operator_gives_last_until_the_price_changes(member: Sale) -> None:
    given: dict[str, Any] = {
        "product_code": member.row().product_code,
        "version": 2,
        "terms": {"features": ["api"], "grace_days": 7},
        "replaces": ["features", "grace_days"],
    }
    member.operator("terms", at=LATER, **given)
    assert (member.row().features, member.row().terms_version) == (["api"], 2)
    member.renewed()
    assert member.row().features == ["api"]
    larger = member.storefront.product(Kind.SUBSCRIPTION)
    price = larger.prices[0].stripe_price_id
    member.subscription("active", period=2, at=END + DAY, items={"si": price})
    assert (member.row().product_code, member.row().features) == (larger.product_code, [])


@row("subscription.deleted")
def test_a_canceled_subscription_stays_canceled_when_it_is_refunded(member: Sale) -> None:
    at = unix(START + DAY)
    member.subscription("canceled", event_name="deleted", at=START + DAY, ended_at=at)
    give_back(member, at=START + 2 * DAY, reported_by="refund")
    assert member.standing_at(START + 2 * DAY) == ("canceled", False, "canceled")


@pytest.mark.parametrize("shape", [OLD])
@row("refund.subscription")
def test_a_refund_that_names_its_charge_alone(member: Sale) -> None:
    member.send(
        "charge.refund.updated",
        {
            "id": f"re_{member.tag}",
            "object": "refund",
            "amount": PRICE,
            "charge": member.charge_id(),
            "status": "succeeded",
            "created": unix(LATER),
        },
        LATER,
    )
    assert member.standing_at(LATER) == ("past_due", False, "refunded")
