"""What the events of a subscription do, row by row of the documentation."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.checkout.models import AttemptStatus
from licenzy.entitlements.models import State
from tests.entitlements.fixtures_purchases import APPLIED, DAY, GRANTED, MONTH, Sale, Storefront, unix
from tests.entitlements.rows import row
from tests.support.clock import START

END = START + MONTH
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
SLACK = timedelta(hours=72)


@pytest.fixture
def sale(open_sale: Any) -> Sale:
    """A subscription in its first, paid month, with three days of grace."""
    sold: Sale = open_sale(grace_days=3)
    return sold.subscribed()


@row("kind:subscription", "status:active")
def test_an_active_subscription_outlasts_its_period_by_three_days(sale: Sale) -> None:
    held = sale.row()
    assert (held.state, held.reason, held.valid_until) == (State.ACTIVE, None, END)
    assert (
        sale.standing_at(START) == sale.standing_at(END) == sale.standing_at(END + SLACK - SECOND) == GRANTED
    )
    assert sale.standing_at(END + SLACK) == ("expired", False, "renewal_unconfirmed")


@row("kind:subscription")
def test_an_active_subscription_whose_first_invoice_is_open_grants_nothing(open_sale: Any) -> None:
    sale = open_sale()
    sale.subscription("active", event_name="created")
    sale.invoice("payment_failed")
    assert sale.entitlements() == []
    sale.invoice("paid", at=START + HOUR)
    assert sale.standing_at(START + HOUR) == GRANTED


@row("kind:subscription")
def test_either_of_the_two_words_for_a_paid_invoice_is_enough(open_sale: Any) -> None:
    sale = open_sale()
    sale.subscription("active", event_name="created")
    sale.invoice("payment_succeeded")
    assert sale.standing_at(START) == GRANTED


@row("status:trialing")
def test_a_trial_is_access(open_sale: Any) -> None:
    sale = open_sale()
    sale.subscription("trialing", event_name="created", trial_end=unix(END))
    assert sale.row().state is State.TRIALING
    assert sale.standing_at(END) == ("trialing", True, None)
    assert sale.standing_at(END + SLACK) == ("expired", False, "renewal_unconfirmed")


@row("status:past_due", "invoice.failed")
def test_grace_begins_at_the_first_failure(sale: Sale) -> None:
    """The period has rolled forward already, which grants nothing while it is not paid."""
    sale.subscription("active", period=2, at=END)
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR, previous={"status": "active"})
    sale.invoice("payment_failed", period=2, at=END + 2 * DAY)
    held = sale.row()
    assert (held.state, held.valid_until) == (State.PAST_DUE, END + HOUR + 3 * DAY)
    assert sale.standing_at(END + 3 * DAY) == ("past_due", True, None)
    assert sale.standing_at(END + HOUR + 3 * DAY) == ("past_due", False, "past_due")


@row("status:past_due")
def test_without_grace_a_failure_ends_access_at_once(open_sale: Any) -> None:
    sale = open_sale().subscribed()
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR)
    assert sale.standing_at(END + HOUR) == ("past_due", False, "past_due")


@pytest.mark.parametrize("recovery_is_reported", [True, False])
@row("invoice.paid")
def test_a_late_payment_clears_the_grace(sale: Sale, recovery_is_reported: bool) -> None:
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR)
    sale.invoice("paid", period=2, at=END + 5 * DAY)
    if recovery_is_reported:
        sale.subscription("active", period=2, at=END + 5 * DAY, previous={"status": "past_due"})
    held = sale.row()
    assert (held.state, held.valid_until) == (State.ACTIVE, START + 2 * MONTH)
    assert sale.standing_at(END + 6 * DAY) == GRANTED


@row("invoice.paid")
def test_a_second_unpaid_stretch_has_a_grace_of_its_own(sale: Sale) -> None:
    sale.invoice("payment_failed", period=2, at=END + HOUR)
    sale.subscription("past_due", period=2, at=END + HOUR)
    sale.invoice("paid", period=2, at=END + DAY)
    sale.subscription("active", period=2, at=END + DAY)
    sale.invoice("payment_failed", period=3, at=END + MONTH)
    sale.subscription("past_due", period=3, at=END + MONTH)
    assert sale.row().valid_until == END + MONTH + 3 * DAY


@pytest.mark.parametrize("period_is_reported", [True, False])
@row("invoice.paid")
def test_a_paid_renewal_extends_the_period(sale: Sale, period_is_reported: bool) -> None:
    if period_is_reported:
        sale.subscription("active", period=2, at=END)
    sale.invoice("paid", period=2, at=END + HOUR)
    assert (sale.row().state, sale.row().valid_until) == (State.ACTIVE, START + 2 * MONTH)


@row("status:unpaid")
def test_unpaid_is_suspended_without_grace(sale: Sale) -> None:
    sale.invoice("payment_failed", period=2, at=END)
    sale.subscription("unpaid", period=2, at=END + HOUR)
    assert (sale.row().state, sale.row().reason) == (State.SUSPENDED, "past_due")
    assert sale.standing_at(END + HOUR) == ("suspended", False, "past_due")


@row("status:paused", "subscription.changed")
def test_paused_and_resumed(sale: Sale) -> None:
    sale.subscription("paused", at=START + DAY, event_name="paused")
    assert sale.standing_at(START + DAY) == ("paused", False, "paused")
    sale.subscription("active", at=START + 2 * DAY, event_name="resumed")
    assert sale.standing_at(START + 2 * DAY) == GRANTED


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [("void", ("paused", False, "paused")), ("keep_as_draft", GRANTED), ("mark_uncollectible", GRANTED)],
)
@row("status:pause_collection")
def test_collection_paused(sale: Sale, behavior: str, expected: Any) -> None:
    sale.subscription("active", at=START + DAY, pause_collection={"behavior": behavior, "resumes_at": None})
    assert sale.standing_at(START + DAY) == expected
    sale.subscription("active", at=START + 2 * DAY, pause_collection=None)
    assert sale.standing_at(START + 2 * DAY) == GRANTED


@row("status:incomplete")
def test_incomplete_is_nothing_yet(open_sale: Any) -> None:
    sale = open_sale()
    kept = sale.subscription("incomplete", event_name="created")
    assert (kept.status, sale.entitlements()) == (APPLIED, [])
    assert sale.attempt_outcome() == (AttemptStatus.OPEN, None)


@pytest.mark.parametrize("session_first", [True, False])
@row("status:incomplete_expired")
def test_incomplete_expired_fails_the_attempt(open_sale: Any, session_first: bool) -> None:
    sale = open_sale()
    steps = [
        lambda: sale.session(paid="unpaid"),
        lambda: sale.subscription("incomplete_expired", at=START + DAY),
    ]
    for step in steps if session_first else reversed(steps):
        step()
    assert (sale.entitlements(), sale.attempt_outcome()) == ([], (AttemptStatus.FAILED, "incomplete_expired"))


@row("status:canceled", "subscription.deleted")
def test_deleted_cancels_its_own_and_no_other(storefront: Storefront, shape: str) -> None:
    subject = storefront.subject()
    gone, stays = (
        storefront.sell(storefront.product(Kind.SUBSCRIPTION), subject=subject, shape=shape).subscribed()
        for _ in range(2)
    )
    at = START + DAY
    gone.subscription("canceled", event_name="deleted", at=at, ended_at=unix(at), canceled_at=unix(at))
    held = gone.row()
    assert (held.state, held.canceled_at, held.valid_until) == (State.CANCELED, at, at)
    assert gone.standing_at(at) == ("canceled", False, "canceled")
    assert stays.standing_at(at) == GRANTED


@row("subscription.deleted")
def test_deleted_arriving_first_stays_deleted(open_sale: Any) -> None:
    sale = open_sale()
    at = START + DAY
    sale.subscription("canceled", event_name="deleted", at=at, ended_at=unix(at))
    sale.terms["ended_at"] = None
    sale.subscribed()
    assert sale.standing_at(at) == ("canceled", False, "canceled")
    assert sale.attempt_outcome() == (AttemptStatus.PAID, None)


@row("status:unknown")
def test_an_unknown_status_leaves_the_last_known_state_and_says_so(sale: Sale) -> None:
    before = sale.row()
    kept = sale.subscription("hibernating", at=START + DAY)
    assert sale.row() == before
    assert kept.status is APPLIED
    assert kept.note == "The status hibernating is unknown. The last known state stays."


@pytest.mark.parametrize(
    ("terms", "until"),
    [
        ({"cancel_at_period_end": True}, END),
        ({"cancel_at": unix(START + 9 * DAY)}, START + 9 * DAY),
        ({"cancel_at": unix(END), "cancel_at_period_end": True}, END),
    ],
)
@row("subscription.scheduled_cancel")
def test_a_scheduled_cancel_in_each_form_and_called_off(
    sale: Sale, terms: dict[str, Any], until: datetime
) -> None:
    sale.subscription("active", at=START + DAY, **terms, canceled_at=unix(START + DAY))
    held = sale.row()
    assert (held.state, held.cancel_at, held.valid_until) == (State.ACTIVE, until, until)
    assert sale.standing_at(until - SECOND) == GRANTED
    assert sale.standing_at(until) == ("canceled", False, "canceled")
    sale.subscription(
        "active", at=START + 2 * DAY, cancel_at=None, cancel_at_period_end=False, canceled_at=None
    )
    assert (sale.row().cancel_at, sale.row().canceled_at, sale.row().valid_until) == (None, None, END)


@row("subscription.plan")
def test_a_plan_change_follows_the_price(sale: Sale) -> None:
    larger = sale.storefront.product(Kind.SUBSCRIPTION, features=["export"], grace_days=5)
    entitlement_id = sale.row().id
    sale.subscription("active", at=START + DAY, items={"si": larger.prices[0].stripe_price_id})
    held = sale.row()
    assert (held.id, held.product_code, held.features) == (entitlement_id, larger.product_code, ["export"])
    sale.renewed()
    sale.invoice("payment_failed", period=3, at=START + 2 * MONTH)
    sale.subscription("past_due", period=3, at=START + 2 * MONTH)
    assert sale.row().valid_until == START + 2 * MONTH + 5 * DAY


@row("grace.last_paid")
def test_in_grace_what_was_last_paid_for_counts(sale: Sale) -> None:
    larger = sale.storefront.product(Kind.SUBSCRIPTION, features=["export"], grace_days=5)
    sale.subscription("active", at=START + DAY, items={"si": larger.prices[0].stripe_price_id})
    assert sale.row().product_code == larger.product_code
    sale.invoice("payment_failed", period=2, at=END)
    sale.subscription("past_due", period=2, at=END)
    in_grace = sale.row()
    assert (in_grace.product_code, in_grace.features) == (sale.attempt.product_code, [])
    assert in_grace.valid_until == END + 3 * DAY
    sale.invoice("paid", period=2, at=END + DAY)
    assert sale.row().product_code == larger.product_code


@row("grace.last_paid")
def test_a_change_that_is_not_paid_leaves_what_was_paid_before(sale: Sale) -> None:
    larger = sale.storefront.product(Kind.SUBSCRIPTION, grace_days=5)
    sale.subscription(
        "past_due",
        at=START + DAY,
        items={"si": larger.prices[0].stripe_price_id},
        latest_invoice="in_of_the_change",
    )
    held = sale.row()
    assert (held.product_code, held.valid_until) == (sale.attempt.product_code, END)


@row("subscription.quantity")
def test_the_quantity_follows_the_subscription(open_sale: Any) -> None:
    sale = open_sale(quantity=2).subscribed()
    assert sale.row().quantity == 2
    sale.subscription("active", at=START + DAY, quantity=7)
    assert sale.row().quantity == 7


@row("subscription.items")
def test_two_items_are_two_entitlements_and_a_removed_one_ends(sale: Sale) -> None:
    extra = sale.storefront.product(Kind.SUBSCRIPTION)
    price = sale.attempt.sold["stripe_price_id"]
    sale.subscription("active", at=START + DAY, items={"si": price, "sx": extra.prices[0].stripe_price_id})
    assert sorted(held.product_code for held in sale.entitlements()) == sorted(
        [extra.product_code, sale.attempt.product_code]
    )
    sale.subscription("active", at=START + 2 * DAY, items={"si": price})
    sale.renewed()
    stays, gone = sale.entitlements()
    assert (stays.state, stays.valid_until) == (State.ACTIVE, START + 2 * MONTH)
    assert (gone.state, gone.canceled_at) == (State.CANCELED, START + 2 * DAY)


@row("subscription.unmapped")
def test_a_change_to_an_unmapped_price_lasts_as_long_as_was_paid_for(sale: Sale) -> None:
    kept = sale.subscription("active", at=START + DAY, items={"si": "price_unmapped"})
    assert kept.note == "No product is mapped to price_unmapped."
    assert sale.row().valid_until == END
    assert sale.standing_at(END - SECOND) == GRANTED
    assert sale.standing_at(END) == ("canceled", False, "product_changed")
    sale.renewed()
    assert sale.standing_at(END) == ("canceled", False, "product_changed"), "nothing of ours was paid for"
    back = {"si": sale.attempt.sold["stripe_price_id"]}
    sale.subscription("active", at=END + 2 * DAY, period=2, items=back)
    assert sale.standing_at(END + 2 * DAY) == GRANTED


@row("subscription.unmapped")
def test_an_unmapped_price_next_to_a_mapped_one(sale: Sale) -> None:
    price = sale.attempt.sold["stripe_price_id"]
    sale.subscription("active", at=START + DAY, items={"si": price, "sx": "price_unmapped"})
    assert sale.standing_at(START + DAY) == GRANTED


@row("subscription.changed")
def test_what_arrives_late_changes_nothing(sale: Sale) -> None:
    sale.subscription("paused", at=START + 2 * DAY)
    sale.subscription("active", at=START + DAY)
    assert sale.standing_at(START + 2 * DAY) == ("paused", False, "paused")


@row("subscription.changed")
def test_within_one_second_the_chain_of_changes_decides(open_sale: Any) -> None:
    """A renewal that also schedules its end: what was before tells which came last, items included."""
    steps = [
        lambda sale: sale.subscription("active", at=END, period=1),
        lambda sale: sale.subscription("active", at=END, period=2, previous=_was_in_period(sale, 1)),
        lambda sale: sale.subscription(
            "active", at=END, period=2, cancel_at_period_end=True, previous={"cancel_at_period_end": False}
        ),
    ]
    for order in itertools.permutations(range(3)):
        sale = open_sale()
        sale.session()
        for index in order:
            sale.terms["cancel_at_period_end"] = False
            steps[index](sale)
        assert sale.row().cancel_at == START + 2 * MONTH, order


def _was_in_period(sale: Sale, period: int) -> dict[str, Any]:
    """The part of `previous_attributes` that a renewal has."""
    ends = unix(START + period * MONTH)
    bounds = {"current_period_start": ends - int(MONTH.total_seconds()), "current_period_end": ends}
    item = {
        "id": f"si_{sale.tag}",
        "price": {"id": sale.attempt.sold["stripe_price_id"]},
        "quantity": sale.attempt.quantity,
    }
    told = {"latest_invoice": sale.invoice_id(period)}
    if sale.shape < "2025":
        return {**told, **bounds}
    return {**told, "items": {"data": [{**item, **bounds}]}}


@row("operator.revoke")
def test_an_operator_ends_a_subscription_whatever_stripe_says_then(sale: Sale) -> None:
    sale.operator("revoke", at=START + DAY, item=sale.row().item_key)
    sale.renewed()
    assert sale.standing_at(END + DAY) == ("canceled", False, "canceled")


@row("operator.extend")
def test_an_operator_extends_a_subscription(sale: Sale) -> None:
    sale.operator("extend", at=START + DAY, item=sale.row().item_key, seconds=7 * 86_400)
    assert sale.row().valid_until == END + 7 * DAY
