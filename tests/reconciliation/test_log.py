"""How walks are told of: waiting, under way, ended well or not; and one customer read again at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from sqlmodel import Session, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Entitlement, State
from licenzy.errors import StripeNotConnected, StripeUnavailable
from licenzy.projects.scope import Scope
from licenzy.reconciliation.actions import reconcile, request_walk_of
from licenzy.reconciliation.log import WALKS_KEPT, WalkLog
from licenzy.reconciliation.models import FinishedWalk, Reconciliation
from licenzy.reconciliation.queries import WalkState, last_walk, walk_state
from licenzy.reconciliation.requests import request_walk, resync
from licenzy.reconciliation.walk import MOST_KEPT, Report
from licenzy.subjects.models import Subject
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.checkout.conftest import Shop
from tests.support.clock import START, StandingClock
from tests.support.worker import work_once

Sell = Callable[..., Product]
HOUR = timedelta(hours=1)


def row(**columns: Any) -> Reconciliation:
    return Reconciliation(connection_id="con_1", **columns)


def ended(*, began: datetime = START, problem: str | None = None) -> FinishedWalk:
    return FinishedWalk(
        id="wlk_1",
        project_id="prj_1",
        mode=Mode.TEST,
        connection_id="con_1",
        full=True,
        began_at=began,
        ended_at=began,
        problem=problem,
    )


@pytest.mark.parametrize(
    ("where", "last", "state"),
    [
        (None, None, WalkState.RESTING),
        (row(), None, WalkState.RESTING),
        (row(ran_at=START), ended(), WalkState.RESTING),
        (row(requested_at=START), None, WalkState.WAITING),
        (row(requested_at=START), ended(began=START - HOUR, problem="x"), WalkState.WAITING),
        (row(requested_at=START), ended(began=START, problem="x"), WalkState.RESTING),
        (row(requested_at=START, leased_until=START + HOUR), None, WalkState.WAITING),
        (row(requested_at=START, leased_until=START + HOUR, step="events"), None, WalkState.WALKING),
        (row(leased_until=START + HOUR, step="events"), None, WalkState.WALKING),
        # Who walked has died: its lease ends, and the walk is taken up again.
        (row(requested_at=START, leased_until=START, step="events"), None, WalkState.WAITING),
        (row(leased_until=START, step="events"), None, WalkState.RESTING),
    ],
)
def test_where_a_walk_is(where: Reconciliation | None, last: FinishedWalk | None, state: WalkState) -> None:
    assert walk_state(where, last, START) is state


@pytest.fixture
def real_time(clock: StandingClock) -> None:
    """The sandbox lives in real time."""
    clock.now = datetime.now(UTC)


def buy(shop: Shop, code: str) -> None:
    opened = shop.checkout(code, product_code=code).get_json()
    paid = httpx.post(opened["checkout_url"], data={"action": "pay", "email": "buyer@example.com"})
    assert paid.status_code == 303, paid.text


def finished(shop: Shop) -> list[FinishedWalk]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(FinishedWalk).order_by(FinishedWalk.id)))


def ask(shop: Shop, clock: StandingClock) -> None:
    with shop.runtime.database.write() as db:
        request_walk(db, Scope(shop.project_id, Mode.TEST), actor=Actor("usr_1", None), now=clock())


@pytest.mark.usefixtures("real_time")
def test_a_walk_that_was_asked_for_is_made_by_the_worker(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "PACK")
    ask(shop, clock)
    clock.advance(seconds=2)
    work_once(shop.runtime)
    (walk,) = finished(shop)
    assert (walk.full, walk.requested_by, walk.problem) == (True, "usr_1", None)
    assert walk.report["events_missed"] > 0
    assert walk.report["differences"][0]["after"]["granted_units"] == 1000
    with shop.runtime.database.read() as db:
        state = db.get_one(Reconciliation, shop.connection.id)
        assert (state.requested_at, state.step) == (None, None)
        audited = db.exec(select(AuditEntry).where(AuditEntry.action == "reconciliation.ask")).one()
    assert audited.actor_user_id == "usr_1"


@pytest.mark.usefixtures("real_time")
def test_a_walk_is_under_way_until_it_is_told_of(shop: Shop, clock: StandingClock) -> None:
    ask(shop, clock)
    clock.advance(seconds=2)
    seen: list[tuple[WalkState, int]] = []

    def note_commit(_session: Session) -> None:
        with shop.runtime.database.read() as db:
            where = db.get_one(Reconciliation, shop.connection.id)
            last = last_walk(db, Scope(shop.project_id, Mode.TEST))
        seen.append((walk_state(where, last, clock()), len(finished(shop))))

    event.listen(Session, "after_commit", note_commit)
    try:
        work_once(shop.runtime)
    finally:
        event.remove(Session, "after_commit", note_commit)
    under_way = {(WalkState.WAITING, 0), (WalkState.WALKING, 0)}
    assert set(seen) == under_way | {(WalkState.RESTING, 1)}


@pytest.mark.usefixtures("real_time")
def test_a_walk_that_breaks_off_says_why(shop: Shop, clock: StandingClock) -> None:
    ask(shop, clock)
    shop.inject_faults(http_500=50, match="GET /v1/subscriptions")
    clock.advance(seconds=2)
    work_once(shop.runtime)
    (walk,) = finished(shop)
    assert walk.problem is not None
    assert "Stripe" in walk.problem
    with shop.runtime.database.read() as db:
        where = db.get_one(Reconciliation, shop.connection.id)
        last = last_walk(db, Scope(shop.project_id, Mode.TEST))
    assert where.step is None
    assert walk_state(where, last, clock()) is WalkState.RESTING
    shop.behave()
    ask(shop, clock)  # Nobody has to wait for the next try by itself.
    clock.advance(seconds=2)
    work_once(shop.runtime)
    assert [each.problem is None for each in finished(shop)] == [False, True]


def test_what_a_walk_looks_at_is_told_while_it_looks(shop: Shop, clock: StandingClock) -> None:
    ask(shop, clock)
    report = Report(shop.connection.id, "")
    log = WalkLog(shop.runtime.database, shop.connection, clock, clock(), report, full=True)

    def step() -> str | None:
        with shop.runtime.database.read() as db:
            return db.get_one(Reconciliation, shop.connection.id).step

    with log:
        log.step("refunds")
        assert step() == "refunds"
        log.seen(1200)
        assert step() == "refunds, 1,200 so far"
    assert step() is None
    with pytest.raises(ZeroDivisionError), log:
        log.step(str(1 / 0))
    assert step() is None
    assert [walk.problem for walk in finished(shop)] == [None, "It failed: ZeroDivisionError."]


@pytest.mark.usefixtures("real_time")
def test_hourly_walks_are_told_of_and_old_ones_forgotten(shop: Shop, clock: StandingClock) -> None:
    parts = shop.runtime
    for _ in range(WALKS_KEPT + 3):
        reconcile(
            parts.database,
            parts.gateway,
            parts.secret_box,
            connection=shop.connection,
            clock=clock,
            full=False,
        )
    walks = finished(shop)
    assert len(walks) == WALKS_KEPT
    assert {(walk.full, walk.requested_by) for walk in walks} == {(False, None)}


def test_without_a_connection_there_is_nothing_to_walk(shop: Shop, clock: StandingClock) -> None:
    with pytest.raises(StripeNotConnected), shop.runtime.database.write() as db:
        request_walk(db, Scope(shop.project_id, Mode.LIVE), actor=Actor(), now=clock())
    with shop.runtime.database.write() as db:
        request_walk_of(db, connection_id=shop.connection.id, now=clock())
        assert db.get_one(Reconciliation, shop.connection.id).requested_by is None


def again(shop: Shop, clock: StandingClock) -> Report:
    parts = shop.runtime
    with parts.database.read() as db:
        subject = db.exec(select(Subject)).one()
    return resync(
        parts.database,
        parts.gateway,
        parts.secret_box,
        Scope(shop.project_id, Mode.TEST),
        subject_id=subject.id,
        actor=Actor("usr_1", None),
        clock=clock,
    )


def states(shop: Shop) -> dict[str, tuple[State, str | None]]:
    with shop.runtime.database.read() as db:
        return {held.product_code: (held.state, held.reason) for held in db.exec(select(Entitlement))}


@pytest.mark.usefixtures("real_time")
def test_a_customer_is_read_again_with_refunds_and_all(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PACK", Kind.USAGE_PACK)
    sell("PRO", Kind.SUBSCRIPTION)
    for code in ("PACK", "PRO"):
        buy(shop, code)
    parts = shop.runtime
    reconcile(parts.database, parts.gateway, parts.secret_box, connection=shop.connection, clock=clock)
    clock.advance(seconds=5)
    unchanged = again(shop, clock)
    assert (unchanged.subscriptions_seen, unchanged.sessions_seen, unchanged.differences) == (1, 1, [])
    with parts.database.read() as db:
        held = {row.product_code: row for row in db.exec(select(Entitlement))}
    sessions = shop.stripe.v1.checkout.sessions.list({"limit": 10}).data
    intent = next(each.payment_intent for each in sessions if each.mode == "payment")
    shop._control("POST", "actions", {"action": "refund", "payment_intent": intent})
    subscription = held["PRO"].stripe_subscription_id
    shop._control("POST", "actions", {"action": "cancel", "subscription": subscription})
    clock.advance(seconds=5)
    repaired = again(shop, clock)
    assert repaired.refunds_seen == 1
    assert states(shop) == {"PACK": (State.CANCELED, "refunded"), "PRO": (State.CANCELED, None)}
    assert {change["after"]["state"] for change in repaired.differences} == {"canceled"}
    with parts.database.read() as db:
        assert len(db.exec(select(AuditEntry).where(AuditEntry.action == "subject.resync")).all()) == 2


@pytest.mark.usefixtures("real_time")
def test_nothing_is_lost_when_stripe_is_away(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "PACK")
    parts = shop.runtime
    reconcile(parts.database, parts.gateway, parts.secret_box, connection=shop.connection, clock=clock)
    before = states(shop)
    shop.inject_faults(http_500=50, match="GET /v1/checkout/*")
    with pytest.raises(StripeUnavailable):
        again(shop, clock)
    assert states(shop) == before


def test_a_report_counts_all_and_keeps_the_first_ones() -> None:
    report = Report("con_1", "2026-11-23T09:30:00Z")
    for number in range(MOST_KEPT + 1):
        report.add_differences([{"entitlement": f"ent_{number}", "before": None, "after": {}}] * 2)
        report.add_problem(f"sub_{number}", "It has no items.")
    assert (report.differences_found, report.problems_found) == (2 * MOST_KEPT + 2, MOST_KEPT + 1)
    assert (len(report.differences), len(report.problems)) == (MOST_KEPT, MOST_KEPT)
    assert report.differences[-1]["entitlement"] == f"ent_{MOST_KEPT // 2 - 1}"
    assert report.problems[-1]["object"] == f"sub_{MOST_KEPT - 1}"
