"""A sender that was frozen and tells its outcome late undoes nothing that was done meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.deliveries import actions
from licenzy.deliveries.actions import EndpointContext
from licenzy.deliveries.claims import LEASE, DeliveryClaim, DeliveryOutcome, claim_due, record_outcomes
from licenzy.deliveries.models import Delivery, DeliveryAttempt, DeliveryStatus, WebhookEndpoint
from licenzy.deliveries.outbox import requeue
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor
from tests.support.cast import Cast
from tests.support.clock import StandingClock
from tests.support.endpoints import ALL, enqueue_events, make_endpoint


@pytest.fixture
def claim(database: Database, runtime: Runtime, cast: Cast, clock: StandingClock) -> DeliveryClaim:
    """The third try of a delivery, which a sender has begun and says nothing of."""
    with database.write() as db:
        make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box, now=clock())
        enqueue_events(db, project_id=cast.project_id, now=clock())
    for _ in range(2):
        record(database, clock, take(database, clock), status=500)
        clock.advance(hours=1)
    return take(database, clock)


def take(database: Database, clock: StandingClock) -> DeliveryClaim:
    with database.write() as db:
        endpoint = db.exec(select(WebhookEndpoint)).one()
        (claim,) = claim_due(db, room={endpoint.id: 1}, now=clock())
    return claim


def record(database: Database, clock: StandingClock, claim: DeliveryClaim, *, status: int) -> None:
    with database.write() as db:
        record_outcomes(db, [DeliveryOutcome(claim, clock(), 12, status=status)], now=clock())


def delivery(database: Database) -> Delivery:
    with database.read() as db:
        return db.exec(select(Delivery)).one()


def endpoint(database: Database) -> WebhookEndpoint:
    with database.read() as db:
        return db.exec(select(WebhookEndpoint)).one()


def context(cast: Cast, clock: StandingClock) -> EndpointContext:
    return EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), clock())


def test_asking_for_it_again_stands(
    database: Database, cast: Cast, clock: StandingClock, claim: DeliveryClaim
) -> None:
    clock.advance(seconds=LEASE.lasts.total_seconds())
    with database.write() as db:
        assert requeue(db, context(cast, clock)) == 1
    record(database, clock, claim, status=500)
    row = delivery(database)
    assert (row.status, row.tries, row.next_try_at) == (DeliveryStatus.PENDING, 0, clock())
    assert take(database, clock).number == claim.number + 1


def test_what_is_under_way_is_not_asked_for_again(
    database: Database, cast: Cast, clock: StandingClock, claim: DeliveryClaim
) -> None:
    with database.write() as db:
        assert requeue(db, context(cast, clock)) == 0
    record(database, clock, claim, status=200)
    assert delivery(database).status is DeliveryStatus.SENT


@pytest.mark.parametrize(("status", "becomes"), [(500, DeliveryStatus.DEAD), (200, DeliveryStatus.SENT)])
def test_what_was_on_its_way_to_a_deleted_endpoint_ends(
    database: Database,
    cast: Cast,
    clock: StandingClock,
    claim: DeliveryClaim,
    status: int,
    becomes: DeliveryStatus,
) -> None:
    with database.write() as db:
        actions.delete_endpoint(db, context(cast, clock), endpoint_id=claim.endpoint_id)
    record(database, clock, claim, status=status)
    row = delivery(database)
    assert (row.status, row.next_try_at, row.leased_until) == (becomes, None, None)
    with database.read() as db:
        assert (
            db.get_one(
                DeliveryAttempt, (claim.scope.project_id, claim.scope.mode, claim.delivery_id, claim.number)
            ).status
            == status
        )


def test_another_sender_that_has_it_is_not_disturbed(
    database: Database, clock: StandingClock, claim: DeliveryClaim
) -> None:
    clock.advance(seconds=LEASE.lasts.total_seconds())
    other = take(database, clock)
    record(database, clock, claim, status=500)
    assert delivery(database).leased_until == LEASE.until(clock())
    record(database, clock, other, status=200)
    record(database, clock, claim, status=500)
    assert delivery(database).status is DeliveryStatus.SENT


def test_a_success_that_is_told_late_is_one(
    database: Database, clock: StandingClock, claim: DeliveryClaim
) -> None:
    clock.advance(seconds=LEASE.lasts.total_seconds())
    other = take(database, clock)
    record(database, clock, claim, status=200)
    record(database, clock, other, status=500)
    row = delivery(database)
    assert (row.status, row.next_try_at) == (DeliveryStatus.SENT, None)


def test_an_address_is_not_judged_by_the_one_before(
    database: Database, cast: Cast, clock: StandingClock, claim: DeliveryClaim
) -> None:
    """Saved elsewhere, it has not failed yet, and that the old one is gone says nothing of it."""
    assert endpoint(database).failing_since is not None
    with database.write() as db:
        actions.change_endpoint(
            db,
            context(cast, clock),
            endpoint_id=claim.endpoint_id,
            url="https://other.example/hook",
            types=ALL,
            description="",
            private_allowed=False,
        )
    assert endpoint(database).failing_since is None
    record(database, clock, claim, status=410)
    changed = endpoint(database)
    assert (changed.failing_since, changed.disabled_at) == (None, None)
    assert delivery(database).status is DeliveryStatus.DEAD


@pytest.mark.parametrize(("drawn", "minutes"), [(0.0, 27), (0.5, 30), (1.0, 33)])
def test_the_next_try_is_spread_by_the_number_that_was_drawn(
    database: Database, clock: StandingClock, claim: DeliveryClaim, drawn: float, minutes: int
) -> None:
    failed = DeliveryOutcome(claim, clock(), 12, status=500)
    with database.write() as db:
        record_outcomes(db, [failed], now=clock(), random=lambda: drawn)
    assert delivery(database).next_try_at == clock() + timedelta(minutes=minutes)
