"""What happens to subscriptions and payments over time, and what is told of it."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from licenzy.stripe_sandbox.lifecycle.periods import end_after
from tests.stripe_sandbox.shop import Receiver, Shop

DAY, HOUR = 86400, 3600
PAID = ["charge.succeeded", "payment_intent.succeeded"]
INVOICED = ["invoice.created", "invoice.finalized", "payment_intent.created"]
SETTLED = ["invoice.paid", "invoice.payment_succeeded", "invoice_payment.paid"]
RENEWED = ["customer.subscription.updated", *INVOICED, *PAID, *SETTLED]
FAILED = [
    "customer.subscription.updated",
    *INVOICED,
    "charge.failed",
    "payment_intent.payment_failed",
    "invoice.payment_failed",
    "customer.subscription.updated",
]


def item_of(subscription: stripe.Subscription) -> Any:
    return subscription["items"].data[0]


def now(shop: Shop) -> int:
    return int(shop.control("GET", "").json()["now"])


def test_a_renewal_follows_on_the_period_before(shop: Shop) -> None:
    before = shop.subscribed()
    assert shop.act("renew", subscription=before.id) == RENEWED
    after = shop.stripe.subscriptions.retrieve(before.id, {"expand": ["latest_invoice"]})
    assert item_of(after).current_period_start == item_of(before).current_period_end
    assert after.latest_invoice.billing_reason == "subscription_cycle"  # type: ignore[union-attr]
    assert after.latest_invoice.period_end == item_of(before).current_period_end  # type: ignore[union-attr]
    updated = shop.stripe.events.list({"type": "customer.subscription.updated"}).data[0].to_dict()
    was = updated["data"]["previous_attributes"]["items"]["data"][0]
    assert was["current_period_end"] == item_of(before).current_period_end


def test_a_failed_renewal_is_past_due_until_it_recovers(shop: Shop) -> None:
    subscription = shop.subscribed()
    assert shop.act("fail_renewal", subscription=subscription.id) == FAILED
    failed = shop.stripe.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert failed.status == "past_due"
    assert failed.latest_invoice.attempt_count == 1  # type: ignore[union-attr]
    assert failed.latest_invoice.next_payment_attempt is not None  # type: ignore[union-attr]
    recovered = shop.act("recover", subscription=subscription.id)
    assert recovered == [*PAID, *SETTLED, "customer.subscription.updated"]
    assert shop.stripe.subscriptions.retrieve(subscription.id).status == "active"
    assert "only a past_due one recovers" in shop.refused("recover", subscription=subscription.id)


def test_time_passes_to_a_renewal_that_works_or_fails(shop: Shop) -> None:
    before = shop.subscribed()
    end = item_of(before).current_period_end
    told = shop.act("renew_in_time", subscription=before.id)
    assert told == [*RENEWED, "test_helpers.test_clock.ready"]
    assert now(shop) - end - HOUR in range(5), "the invoice is a draft for an hour"
    after = shop.stripe.subscriptions.retrieve(before.id)
    assert item_of(after).current_period_start == end
    told = shop.act("fail_renewal_in_time", subscription=before.id)
    assert told == [*FAILED, "test_helpers.test_clock.ready"]
    assert now(shop) - item_of(after).current_period_end - HOUR in range(5)
    shop.act("recover", subscription=before.id)
    shop.act("cancel_at_period_end", subscription=before.id)
    assert "has an end" in shop.refused("renew_in_time", subscription=before.id)
    shop.act("cancel", subscription=before.id)
    assert "does not renew" in shop.refused("fail_renewal_in_time", subscription=before.id)


def test_a_subscription_that_is_never_paid_is_given_up(shop: Shop) -> None:
    subscription = shop.subscribed()
    shop.act("fail_renewal", subscription=subscription.id)
    told = shop.act("advance_clock", seconds=20 * DAY)
    assert told.count("invoice.payment_failed") == 3, "after 3, 5 and 7 days"
    assert "customer.subscription.deleted" in told
    ended = shop.stripe.subscriptions.retrieve(subscription.id)
    assert ended.status == "canceled"
    assert ended.cancellation_details is not None
    assert ended.cancellation_details.reason == "payment_failed"


def test_the_clock_lets_renewals_happen_at_their_own_time(shop: Shop, receiver: Receiver) -> None:
    subscription = shop.subscribed(shop.price(interval="week"))
    receiver.listen(shop, "invoice.paid", "test_helpers.test_clock.ready")
    start = item_of(subscription).current_period_start
    shop.act("advance_clock", seconds=22 * DAY)
    receiver.wait_for("test_helpers.test_clock.ready")
    assert receiver.types() == ["invoice.paid"] * 3 + ["test_helpers.test_clock.ready"]
    assert [e.created - start for e in receiver.events[:3]] == [
        7 * DAY + HOUR,
        14 * DAY + HOUR,
        21 * DAY + HOUR,
    ]
    clock = receiver.events[-1].data.object
    assert clock["status"] == "ready"
    assert clock["frozen_time"] == receiver.events[-1].created
    assert 0 <= clock["frozen_time"] - start - 22 * DAY < 60
    assert shop.stripe.test_helpers.test_clocks.retrieve(clock["id"]).frozen_time >= clock["frozen_time"]


def test_the_clock_is_moved_over_the_api_too(shop: Shop) -> None:
    clock = shop.stripe.test_helpers.test_clocks.list().data[0]
    later = shop.stripe.test_helpers.test_clocks.advance(clock.id, {"frozen_time": clock.frozen_time + 500})
    assert later.frozen_time == clock.frozen_time + 500
    with pytest.raises(stripe.InvalidRequestError, match="only move forward"):
        shop.stripe.test_helpers.test_clocks.advance(clock.id, {"frozen_time": clock.frozen_time})


def test_a_trial_ends_in_a_paid_period(shop: Shop) -> None:
    subscription = shop.subscribed(subscription_data={"trial_period_days": 10})
    assert shop.act("advance_clock", seconds=8 * DAY)[0] == "customer.subscription.trial_will_end"
    told = shop.act("advance_clock", seconds=3 * DAY)
    assert told[: len(RENEWED)] == RENEWED
    after = shop.stripe.subscriptions.retrieve(subscription.id)
    assert after.status == "active"
    assert item_of(after).current_period_start == subscription.trial_end


@pytest.mark.parametrize("over", ["action", "api"])
def test_a_scheduled_end_comes_and_can_be_called_off(shop: Shop, over: str) -> None:
    subscription = shop.subscribed()
    end = item_of(subscription).current_period_end

    def schedule(flag: bool) -> None:
        if over == "api":
            shop.stripe.subscriptions.update(subscription.id, {"cancel_at_period_end": flag})
        else:
            shop.act("cancel_at_period_end" if flag else "keep", subscription=subscription.id)

    schedule(True)
    leaving = shop.stripe.subscriptions.retrieve(subscription.id)
    assert (leaving.cancel_at_period_end, leaving.cancel_at, leaving.status) == (True, end, "active")
    assert "ends with its period" in shop.refused("renew", subscription=subscription.id)
    schedule(False)
    assert shop.stripe.subscriptions.retrieve(subscription.id).cancel_at is None
    schedule(True)
    told = shop.act("advance_clock", seconds=end - now(shop) + 1)
    assert told == ["customer.subscription.deleted", "test_helpers.test_clock.ready"]
    ended = shop.stripe.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", end)


def test_an_end_can_be_set_to_a_day(shop: Shop) -> None:
    subscription = shop.subscribed()
    day = now(shop) + 5 * DAY
    assert shop.stripe.subscriptions.update(subscription.id, {"cancel_at": day}).cancel_at == day
    assert "customer.subscription.deleted" in shop.act("advance_clock", seconds=6 * DAY)


def test_canceling_now_is_final(shop: Shop) -> None:
    subscription = shop.subscribed()
    ended = shop.stripe.subscriptions.cancel(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", ended.canceled_at)
    assert shop.events()[-1] == "customer.subscription.deleted"
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription") as again:
        shop.stripe.subscriptions.cancel(subscription.id)
    assert again.value.http_status == 404
    for action in ("renew", "pause", "resume", "recover", "cancel", "cancel_at_period_end"):
        assert shop.refused(action, subscription=subscription.id)
    assert shop.stripe.subscriptions.list().data == []
    assert len(shop.stripe.subscriptions.list({"status": "ended"}).data) == 1


def test_pausing_and_resuming(shop: Shop) -> None:
    subscription = shop.subscribed()
    assert shop.act("pause", subscription=subscription.id) == [
        "customer.subscription.updated",
        "customer.subscription.paused",
    ]
    assert shop.act("advance_clock", seconds=90 * DAY) == ["test_helpers.test_clock.ready"]
    told = shop.act("resume", subscription=subscription.id)
    assert told[-2:] == ["customer.subscription.updated", "customer.subscription.resumed"]
    after = shop.stripe.subscriptions.retrieve(subscription.id)
    assert after.status == "active"
    assert after.billing_cycle_anchor == item_of(after).current_period_start


def test_collection_can_be_paused_without_pausing(shop: Shop) -> None:
    subscription = shop.subscribed()
    shop.act("pause_collection", subscription=subscription.id)
    told = shop.act("renew", subscription=subscription.id)
    assert told == ["customer.subscription.updated", "invoice.created", "invoice.voided"]
    shop.act("resume_collection", subscription=subscription.id)
    assert shop.act("renew", subscription=subscription.id) == RENEWED


def test_a_plan_changes(shop: Shop) -> None:
    subscription, other = shop.subscribed(), shop.price(4900)
    told = shop.act("change_plan", subscription=subscription.id, price=other.id, quantity=2)
    assert told == ["customer.subscription.updated"]
    item = item_of(shop.stripe.subscriptions.retrieve(subscription.id))
    assert (item.price.id, item.plan.id, item.quantity) == (other.id, other.id, 2)
    assert [s.id for s in shop.stripe.subscriptions.list({"price": other.id}).data] == [subscription.id]
    euros = shop.price(currency="eur")
    assert "same currency" in shop.refused("change_plan", subscription=subscription.id, price=euros.id)
    once = shop.price(interval=None)
    assert "recurring price" in shop.refused("change_plan", subscription=subscription.id, price=once.id)


def test_a_plan_of_another_interval_begins_a_new_period(shop: Shop) -> None:
    subscription, yearly = shop.subscribed(), shop.price(12000, interval="year")
    shop.act("advance_clock", seconds=5 * DAY)
    assert shop.act("change_plan", subscription=subscription.id, price=yearly.id) == RENEWED
    after = shop.stripe.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    item = item_of(after)
    assert item.current_period_start - item_of(subscription).current_period_start in range(5 * DAY, 6 * DAY)
    assert item.current_period_end - item.current_period_start >= 365 * DAY
    assert after.billing_cycle_anchor == item.current_period_start
    assert after.latest_invoice.amount_paid == 12000  # type: ignore[union-attr]
    assert after.latest_invoice.billing_reason == "subscription_update"  # type: ignore[union-attr]


def test_a_plan_changed_while_the_card_fails_stays_past_due(shop: Shop) -> None:
    subscription, yearly = shop.subscribed(), shop.price(12000, interval="year")
    shop.act("fail_renewal", subscription=subscription.id)
    told = shop.act("change_plan", subscription=subscription.id, price=yearly.id)
    assert told[-1] == "invoice.payment_failed"
    assert shop.stripe.subscriptions.retrieve(subscription.id).status == "past_due"
    shop.act("recover", subscription=subscription.id)
    assert shop.stripe.subscriptions.retrieve(subscription.id).status == "active"


def test_refunds_partial_and_full(shop: Shop) -> None:
    intent = str(shop.bought().payment_intent)
    part = shop.stripe.refunds.create({"payment_intent": intent, "amount": 400, "metadata": {"why": "x"}})
    charge = shop.stripe.charges.retrieve(str(part.charge), {"expand": ["refunds"]})
    assert (charge.amount_refunded, charge.refunded) == (400, False)
    assert charge.refunds is not None
    assert [r.id for r in charge.refunds.data] == [part.id]
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        shop.stripe.refunds.create({"payment_intent": intent, "amount": 1501})
    rest = shop.stripe.refunds.create({"charge": charge.id, "reason": "requested_by_customer"})
    assert rest.amount == 1500
    assert shop.stripe.charges.retrieve(charge.id).refunded is True
    with pytest.raises(stripe.InvalidRequestError, match="already been refunded") as caught:
        shop.stripe.refunds.create({"charge": charge.id})
    assert caught.value.code == "charge_already_refunded"
    assert shop.events()[-4:] == ["refund.created", "charge.refunded"] * 2
    assert len(shop.stripe.refunds.list({"payment_intent": intent}).data) == 2
    assert shop.stripe.refunds.update(part.id, {"metadata": {"why": "y"}}).metadata.to_dict() == {"why": "y"}  # type: ignore[union-attr]


def test_a_refund_fails_later(shop: Shop) -> None:
    given = shop.stripe.refunds.create({"payment_intent": str(shop.bought().payment_intent)})
    told = shop.act("fail_refund", refund=given.id)
    assert told == ["refund.failed", "refund.updated", "charge.refund.updated", "charge.updated"]
    assert shop.stripe.refunds.retrieve(given.id).status == "failed"
    charge = shop.stripe.charges.retrieve(str(given.charge))
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert "cannot fail" in shop.refused("fail_refund", refund=given.id)


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute_opens_and_closes(shop: Shop, won: bool) -> None:
    intent = str(shop.bought().payment_intent)
    opened = shop.act("dispute", payment_intent=intent)
    assert opened == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    assert "under dispute already" in shop.refused("dispute", payment_intent=intent)
    with pytest.raises(stripe.InvalidRequestError, match="charged back"):
        shop.stripe.refunds.create({"payment_intent": intent})
    assert shop.act("submit_evidence", payment_intent=intent) == ["charge.dispute.updated"]
    closed = shop.act("win_dispute" if won else "lose_dispute", payment_intent=intent)
    assert closed == ["charge.dispute.closed", *(["charge.dispute.funds_reinstated"] if won else [])]
    dispute = shop.stripe.disputes.list({"payment_intent": intent}).data[0]
    assert dispute.status == ("won" if won else "lost")
    assert "is closed" in shop.refused("win_dispute", dispute=dispute.id)


def test_an_inquiry_moves_no_money_unless_it_escalates(shop: Shop) -> None:
    first, second = str(shop.bought().payment_intent), str(shop.bought().payment_intent)
    assert shop.act("inquire", payment_intent=first) == ["charge.dispute.created"]
    assert "must escalate" in shop.refused("lose_dispute", payment_intent=first)
    assert shop.act("win_dispute", payment_intent=first) == ["charge.dispute.closed"]
    assert shop.stripe.disputes.list({"payment_intent": first}).data[0].status == "warning_closed"
    shop.act("inquire", payment_intent=second)
    told = shop.act("escalate_inquiry", payment_intent=second)
    assert told == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]
    assert shop.act("lose_dispute", payment_intent=second) == ["charge.dispute.closed"]


def test_only_money_that_came_goes_back(shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    shop.answer(session, "decline")
    intent = str(shop.stripe.checkout.sessions.retrieve(session.id).payment_intent)
    assert "does not have a successful charge" in shop.refused("refund", payment_intent=intent)
    assert shop.refused("dispute", payment_intent=intent)


def test_real_time_lets_things_fall_due_too(stand: Any, shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    with stand.app.services.store.writing() as db:
        db.execute("UPDATE accounts SET clock_offset = 90000 WHERE id = ?", (shop.id,))
    stand.app.scheduler.run_due()
    assert shop.stripe.checkout.sessions.retrieve(session.id).status == "expired"


ANCHORS = st.integers(946684800, 2000000000)
RECURRING = st.fixed_dictionaries(
    {"interval": st.sampled_from(["day", "week", "month", "year"]), "interval_count": st.integers(1, 13)}
)


@given(ANCHORS, RECURRING, st.integers(1, 30))
def test_periods_follow_each_other_and_keep_the_anchors_day(anchor: int, recurring: Any, turns: int) -> None:
    start = anchor
    for _ in range(turns):
        end = end_after(anchor, recurring, start)
        assert end > start
        start = end
    if recurring["interval"] in ("month", "year"):
        began, last = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(start, UTC)
        assert last.day == min(began.day, calendar.monthrange(last.year, last.month)[1])
        assert last.time() == began.time()
    else:
        length = recurring["interval_count"] * (DAY if recurring["interval"] == "day" else 7 * DAY)
        assert start - anchor == turns * length


def test_the_last_day_of_january_renews_at_the_end_of_every_month() -> None:
    anchor = int(datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp())
    monthly = {"interval": "month", "interval_count": 1}
    february = end_after(anchor, monthly, anchor)
    march = end_after(anchor, monthly, february)
    shown = [datetime.fromtimestamp(at, UTC).strftime("%m-%d %H") for at in (february, march)]
    assert shown == ["02-28 12", "03-31 12"]


def test_an_incomplete_subscription_ends_when_it_was_scheduled_to(shop: Shop) -> None:
    subscription = shop.started(payment_behavior="default_incomplete")
    shop.stripe.subscriptions.update(subscription.id, {"cancel_at": now(shop) + 3600})
    assert shop.act("advance_clock", seconds=2 * 3600) == [
        "customer.subscription.deleted",
        "test_helpers.test_clock.ready",
    ]
    assert shop.stripe.subscriptions.retrieve(subscription.id).status == "canceled"


def test_all_that_fell_due_meanwhile_is_done_in_one_round(stand: Any, shop: Shop) -> None:
    price = shop.price(interval=None)
    sessions = [shop.session(price).id for _ in range(25)]
    with stand.app.services.store.writing() as db:
        db.execute("UPDATE accounts SET clock_offset = 90000 WHERE id = ?", (shop.id,))
    stand.app.scheduler.run_due()
    assert {shop.stripe.checkout.sessions.retrieve(each).status for each in sessions} == {"expired"}
