"""Reconciliation against the Stripe sandbox: what was missed is found, and nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.actions import follow_clock
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import REQUIRED_EVENTS
from licenzy.entitlements.actions import lock_purchase
from licenzy.entitlements.models import Entitlement, Fact, State
from licenzy.errors import StripeUnavailable
from licenzy.projects.scope import Scope
from licenzy.reconciliation.actions import claim_due, reconcile, request_walk_of
from licenzy.reconciliation.models import Reconciliation
from licenzy.reconciliation.walk import Report
from licenzy.stripe_events.models import StripeEvent
from licenzy.stripe_events.replay import replay_event, replay_purchases
from licenzy.stripe_events.snapshots import settle_next
from tests.checkout.conftest import Shop
from tests.support.clock import StandingClock
from tests.support.worker import work_once

Sell = Callable[..., Product]


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    """The sandbox lives in real time."""
    clock.now = datetime.now(UTC)


def buy(shop: Shop, key: str, **body: Any) -> str:
    """Pay for something on the hosted page while no webhook comes through."""
    told = shop.checkout(key, **body).get_json()
    paid = httpx.post(told["checkout_url"], data={"action": "pay", "email": "buyer@example.com"})
    assert paid.status_code == 303, paid.text
    return str(told["stripe_checkout_session_id"])


def act(shop: Shop, **action: Any) -> None:
    shop._control("POST", "actions", action)


def walk(shop: Shop, clock: StandingClock, **how: Any) -> Report:
    parts = shop.runtime
    return reconcile(
        parts.database, parts.gateway, parts.secret_box, connection=shop.connection, clock=clock, **how
    )


def granted(shop: Shop) -> list[Entitlement]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(Entitlement).order_by(Entitlement.product_code)))


def settle(shop: Shop, clock: StandingClock) -> int:
    clock.advance(seconds=5)
    parts = shop.runtime
    done = 0
    while settle_next(parts.database, parts.gateway, parts.secret_box, clock=clock):
        done += 1
    return done


def test_missed_purchases_of_all_kinds_are_found_once(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    for code, kind in (("A_PASS", Kind.TIME_PASS), ("B_PACK", Kind.USAGE_PACK), ("C_SUB", Kind.SUBSCRIPTION)):
        sell(code, kind)
        buy(shop, code, product_code=code)
    assert granted(shop) == []
    report = walk(shop, clock)
    assert [(row.product_code, row.state) for row in granted(shop)] == [
        ("A_PASS", State.ACTIVE),
        ("B_PACK", State.ACTIVE),
        ("C_SUB", State.ACTIVE),
    ]
    assert 5 < report.events_missed < report.events_seen
    with shop.runtime.database.read() as db:
        kept = set(db.exec(select(StripeEvent.type)).all())
    assert kept <= set(REQUIRED_EVENTS), "what the webhook is not sent either has not been missed"
    assert {change["before"] for change in report.differences if change["before"] is None} == {None}
    rows = [row.model_dump() for row in granted(shop)]
    again = walk(shop, clock)
    assert (again.events_missed, again.differences) == (0, [])
    assert [row.model_dump() for row in granted(shop)] == rows


def test_a_cancellation_nobody_told_is_found_by_its_subscription(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    walk(shop, clock)
    subscription = granted(shop)[0].stripe_subscription_id
    act(shop, action="cancel", subscription=subscription)
    clock.advance(seconds=30)
    # As after 31 days: the events are gone, only what Stripe says now is left.
    report = walk(shop, clock, since=clock() + timedelta(days=1))
    assert report.events_seen == 0
    assert [change["after"]["state"] for change in report.differences][-1:] == ["canceled"]
    assert granted(shop)[0].state is State.CANCELED


def test_a_payment_whose_events_are_gone_is_found_by_its_session(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    session_id = buy(shop, "k", product_code="PACK")
    clock.advance(seconds=30)
    walked = walk(shop, clock, since=clock() + timedelta(days=1))
    assert (walked.events_seen, walked.sessions_seen) == (0, 1)
    row = granted(shop)[0]
    assert (row.granted_units, row.stripe_checkout_session_id) == (1000, session_id)
    with shop.runtime.database.read() as db:
        assert db.exec(select(CheckoutAttempt.status)).one() is AttemptStatus.PAID


def test_an_attempt_that_stripe_refused_makes_nobody_elses_session_ours(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    """Such an attempt has no session, and a session that Licenzy did not open names no attempt."""
    product = sell("PACK", Kind.USAGE_PACK)
    shop.inject_faults(http_500=9, match="POST /v1/checkout/sessions")
    assert shop.checkout("k", product_code="PACK").status_code >= 500
    shop.behave()
    with shop.runtime.database.read() as db:
        attempt = db.exec(select(CheckoutAttempt)).one()
        assert (attempt.status, attempt.stripe_checkout_session_id) == (AttemptStatus.CREATED, None)
    foreign = shop.stripe.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"price": product.prices[0].stripe_price_id, "quantity": 1}],
            "success_url": "https://shop.test/thanks",
        }
    )
    assert httpx.post(str(foreign.url), data={"action": "pay"}).status_code == 303
    report = walk(shop, clock, since=clock() + timedelta(days=1))
    assert (report.sessions_seen, report.problems) == (0, [])
    with shop.runtime.database.read() as db:
        assert db.exec(select(Fact)).all() == []


def test_the_cursor_moves_on_success_only(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    shop.inject_faults(http_500=50, match="GET /v1/events")
    with pytest.raises(StripeUnavailable):
        walk(shop, clock)
    with shop.runtime.database.read() as db:
        assert db.get(Reconciliation, shop.connection.id) is None
    shop.behave()
    walk(shop, clock)
    with shop.runtime.database.read() as db:
        row = db.get(Reconciliation, shop.connection.id)
        assert row is not None
        assert row.reconciled_to == clock()
        assert row.last_event_id is not None


def test_one_worker_takes_the_hourly_walk(shop: Shop, clock: StandingClock) -> None:
    database = shop.runtime.database

    def claimed() -> bool:
        with database.write() as db:
            return claim_due(db, now=clock()) is not None

    clock.advance(hours=2)
    assert [claimed(), claimed()] == [True, False]
    walk(shop, clock, full=False)
    assert claimed() is False
    clock.advance(hours=1, seconds=1)
    assert claimed() is True


def test_settling_reads_the_subscription_once_for_all_its_events(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    walk(shop, clock, full=False)
    assert settle(shop, clock) == 1
    assert settle(shop, clock) == 0
    assert granted(shop)[0].state is State.ACTIVE


def test_a_refund_takes_back_what_it_paid_for(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    walk(shop, clock, full=False)
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    act(shop, action="refund", payment_intent=intent)
    walk(shop, clock, full=False)
    row = granted(shop)[0]
    assert (row.state, row.reason) == (State.CANCELED, "refunded")
    assert row.voided_at is not None


def test_replay_finds_and_mends_a_row_that_is_not_what_its_facts_say(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    walk(shop, clock, full=False)
    database = shop.runtime.database
    assert [changes for _key, changes in replay_purchases(database, clock=clock)] == [[]]
    with database.write() as db:
        row = db.exec(select(Entitlement)).one()
        row.granted_units = 5
    differences = [change for _k, changes in replay_purchases(database, clock=clock) for change in changes]
    assert [d["before"]["granted_units"] for d in differences] == [5]
    assert granted(shop)[0].granted_units == 1000
    with database.read() as db:
        event = db.exec(select(StripeEvent).where(StripeEvent.type == "checkout.session.completed")).one()
    again = replay_event(
        database,
        Scope.of(shop.connection),
        event_id=event.event_id,
        clock=clock,
    )
    assert again.changes == []


def test_a_purchase_can_be_locked_that_nobody_knows(shop: Shop, clock: StandingClock) -> None:
    with shop.runtime.database.write() as db:
        made = lock_purchase(db, Scope(shop.project_id, shop.connection.mode), key="sub_unknown", now=clock())
        assert made.subject_id is None
    assert [key for key, _ in replay_purchases(shop.runtime.database, clock=clock)] == []


def test_decisions_follow_a_sandbox_clock_that_was_moved(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PASS", Kind.TIME_PASS)
    buy(shop, "k", product_code="PASS")
    clock.now = datetime.now(UTC)
    walk(shop, clock, full=False)

    def allowed() -> bool:
        answer = shop.client.post(
            "/v1/access/check",
            json={"subject_ref": "user_123"},
            headers={"Authorization": f"Bearer {shop.token}"},
        )
        return bool(answer.get_json()["allowed"])

    assert allowed()
    act(shop, action="advance_clock", seconds=2 * 86_400)
    walk(shop, clock, full=False)
    assert not allowed()


def test_what_happened_before_the_sandboxs_clock_was_moved_is_found(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    """All events since the last walk are lost but the one that says how far the clock was moved."""
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    walk(shop, clock)
    act(shop, action="cancel", subscription=granted(shop)[0].stripe_subscription_id)
    act(shop, action="advance_clock", seconds=10 * 86_400)
    with shop.runtime.database.write() as db:
        there = int(clock().timestamp()) + 10 * 86_400
        follow_clock(db, connection_id=shop.connection.id, now_there=there, moved=True, now=clock())
    with shop.runtime.database.read() as db:
        moved = connection_of(db, shop.connection.scope)
    assert moved is not None
    shop.connection = moved
    assert walk(shop, clock, full=False).events_missed > 1
    settle(shop, clock)
    assert granted(shop)[0].state is State.CANCELED
    assert walk(shop, clock, full=False).events_seen <= 1, "the next walk begins where this one has been"


def test_a_walk_from_a_later_instant_does_not_move_the_cursor_over_what_it_left_out(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    began = clock()
    clock.advance(hours=3)
    assert walk(shop, clock, since=clock() - timedelta(hours=1), full=False).events_missed == 0
    with shop.runtime.database.read() as db:
        row = db.get(Reconciliation, shop.connection.id)
        assert row is not None
        assert row.reconciled_to is not None
        assert row.reconciled_to <= began
    assert walk(shop, clock, full=False).events_missed > 0
    assert granted(shop)[0].state is State.ACTIVE


def test_a_refund_nobody_told_is_found_and_told_once(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    walk(shop, clock)
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    act(shop, action="refund", payment_intent=intent)
    clock.advance(seconds=30)
    report = walk(shop, clock, since=clock() + timedelta(minutes=1))
    assert (report.events_seen, report.refunds_seen) == (0, 1)
    assert [change["after"]["reason"] for change in report.differences] == ["refunded"]
    row = granted(shop)[0]
    assert (row.state, row.reason) == (State.CANCELED, "refunded")
    with shop.runtime.database.read() as db:
        facts = len(db.exec(select(Fact)).all())
    assert walk(shop, clock, since=clock() + timedelta(minutes=1)).differences == []
    with shop.runtime.database.read() as db:
        assert len(db.exec(select(Fact).where(Fact.kind == "refund")).all()) == 1
        assert len(db.exec(select(Fact)).all()) == facts


def test_a_refund_that_failed_unnoticed_gives_access_back(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    act(shop, action="refund", payment_intent=intent)
    walk(shop, clock)
    assert granted(shop)[0].state is State.CANCELED
    act(shop, action="fail_refund", refund=shop.stripe.v1.refunds.list({"limit": 1}).data[0].id)
    clock.advance(seconds=30)
    walk(shop, clock, since=clock() + timedelta(minutes=1))
    assert granted(shop)[0].state is State.ACTIVE


@pytest.mark.parametrize(("ends", "state"), [("win_dispute", State.ACTIVE), ("lose_dispute", State.CANCELED)])
def test_a_dispute_nobody_told_is_found_at_each_stage(
    shop: Shop, sell: Sell, clock: StandingClock, ends: str, state: State
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    walk(shop, clock)
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    act(shop, action="dispute", payment_intent=intent)
    clock.advance(seconds=30)
    assert walk(shop, clock, since=clock() + timedelta(minutes=1)).disputes_seen == 1
    assert granted(shop)[0].state is State.SUSPENDED
    act(shop, action=ends, payment_intent=intent)
    clock.advance(seconds=30)
    walk(shop, clock, since=clock() + timedelta(minutes=1))
    assert granted(shop)[0].state is state


def test_a_refund_of_a_subscription_nobody_told_finds_its_subscription(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    """Neither the refund nor the invoice names the other: the walk reads who paid for what."""
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    act(shop, action="refund", payment_intent=intent)
    clock.advance(seconds=30)
    report = walk(shop, clock, since=clock() + timedelta(minutes=1))
    assert report.events_seen == 0
    row = granted(shop)[0]
    assert (row.state, row.reason) == (State.SUSPENDED, "refunded")


def test_an_object_that_cannot_be_read_does_not_keep_others_from_being_healed(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    for key in ("a", "b"):
        buy(shop, key, subject_ref=f"user_{key}")
    walk(shop, clock)
    broken, whole = (row.stripe_subscription_id for row in granted(shop))
    act(shop, action="cancel", subscription=whole)
    with shop.sandbox.app.services.store.writing() as db:
        db.execute(
            "UPDATE objects SET body = json_set(body, '$.items.data', json('[]')) WHERE id = ?", (broken,)
        )
    clock.advance(seconds=30)
    report = walk(shop, clock, since=clock() + timedelta(minutes=1))
    assert [problem["object"] for problem in report.problems] == [broken]
    assert "without items" in report.problems[0]["problem"]
    assert {row.stripe_subscription_id: row.state for row in granted(shop)} == {
        broken: State.ACTIVE,
        whole: State.CANCELED,
    }


def test_a_walk_that_was_asked_for_is_made_at_once_and_whole(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    walk(shop, clock)
    database, connection_id = shop.runtime.database, shop.connection.id
    assert database.retrying(lambda db: claim_due(db, now=clock())) is None
    database.retrying(lambda db: request_walk_of(db, connection_id=connection_id, now=clock()))
    due = database.retrying(lambda db: claim_due(db, now=clock()))
    assert due is not None
    assert due.full
    walk(shop, clock, full=due.full)
    assert database.retrying(lambda db: claim_due(db, now=clock())) is None


def test_the_worker_repairs_what_no_webhook_told_within_the_hour(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    walk(shop, clock)
    buy(shop, "k", product_code="PACK")
    clock.advance(hours=1, seconds=1)
    work_once(shop.runtime)
    assert granted(shop)[0].state is State.ACTIVE
    with shop.runtime.database.read() as db:
        row = db.get(Reconciliation, shop.connection.id)
        assert row is not None
        assert row.report["events_missed"] > 0
        assert [change["after"]["state"] for change in row.report["differences"]] == ["active"]
