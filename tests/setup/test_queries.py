from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from licenzy.alignment.modes import Mode
from licenzy.checkout.models import AttemptStatus
from licenzy.connections.models import Connection, Provider
from licenzy.errors import NotFound
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.setup.journey import timeline
from licenzy.setup.queries import counts, journey_facts, setup_facts
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.support.cast import Cast, make_connection, make_key, make_product, make_subject
from tests.support.clock import START, StandingClock
from tests.support.purchases import make_attempt, make_entitlement


@pytest.fixture
def side(cast: Cast) -> Scope:
    return Scope(cast.project_id, Mode.TEST)


def make_event(connection: Connection, object_id: str, event_id: str = "evt_1") -> StripeEvent:
    return StripeEvent(
        id=new_id("rcv"),
        connection_id=connection.id,
        event_id=event_id,
        project_id=connection.project_id,
        mode=connection.mode,
        type="checkout.session.completed",
        object_id=object_id,
        created=START,
        payload="{}",
        status=EventStatus.APPLIED,
        received_at=START,
    )


def test_an_empty_side_knows_nothing(runtime: Runtime, side: Scope, clock: StandingClock) -> None:
    with runtime.database.read() as db:
        facts = setup_facts(db, side, base_url="https://pay.example.com", now=clock())
        counted = counts(db, side)
    assert (facts.connection, facts.products, facts.keys, facts.journey) == (None, (), (), None)
    assert (counted.subjects, counted.purchases, counted.attempts, counted.events) == (0, 0, 0, 0)


def test_a_purchase_is_followed_from_session_to_check(
    runtime: Runtime, side: Scope, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=side.project_id, secret_box=runtime.secret_box)
        product, subject = (
            make_product(db, project_id=side.project_id, mode=side.mode),
            make_subject(db, project_id=side.project_id, mode=side.mode),
        )
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
        first = journey_facts(db, side, attempt_id=attempt.id, now=clock())
        db.add(make_event(connection, attempt.stripe_checkout_session_id or ""))
        attempt.status = AttemptStatus.PAID
        entitlement = make_entitlement(db, subject=subject, attempt_id=attempt.id)
        last = journey_facts(db, side, attempt_id=attempt.id, now=clock())
        counted = counts(db, side)
    assert (first.event, first.granted, first.allowed) == (None, False, False)
    assert first.refusal == "no_entitlement"
    assert last.event is not None
    assert (last.event.event_id, last.entitlement_id, last.allowed) == ("evt_1", entitlement.id, True)
    assert last.last_event_at == START
    assert (counted.subjects, counted.purchases, counted.attempts, counted.events) == (1, 1, 1, 1)


def test_the_purchase_that_granted_something_proves_the_set_up_before_later_ones(
    runtime: Runtime, side: Scope, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=side.project_id, secret_box=runtime.secret_box)
        product, subject = (
            make_product(db, project_id=side.project_id, mode=side.mode),
            make_subject(db, project_id=side.project_id, mode=side.mode),
        )
        parts: dict[str, Any] = {"connection": connection, "subject": subject, "product": product}
        granted = make_attempt(db, **parts)
        make_entitlement(db, subject=subject, attempt_id=granted.id)
        make_attempt(db, **parts, now=clock.advance(hours=1))
        facts = setup_facts(db, side, base_url="https://pay.example.com", now=clock())
    assert facts.journey is not None
    assert facts.journey.attempt_id == granted.id


def test_revoked_and_expired_keys_and_archived_products_do_not_count(
    runtime: Runtime, side: Scope, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        make_key(db, project_id=side.project_id, mode=side.mode, revoked_at=START)
        make_key(db, project_id=side.project_id, mode=side.mode, expires_at=START)
        kept, _token = make_key(db, project_id=side.project_id, mode=side.mode)
        make_product(db, project_id=side.project_id, mode=side.mode, archived_at=START)
        facts = setup_facts(db, side, base_url="https://pay.example.com", now=clock())
    assert [key.id for key in facts.keys] == [kept.id]
    assert facts.products == ()


def test_nothing_of_the_other_mode_or_of_strangers_is_seen(
    runtime: Runtime, cast: Cast, side: Scope, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=side.project_id, secret_box=runtime.secret_box)
        product, subject = (
            make_product(db, project_id=side.project_id, mode=side.mode),
            make_subject(db, project_id=side.project_id, mode=side.mode),
        )
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
        make_key(db, project_id=side.project_id, mode=side.mode)
        for foreign in (
            Scope(cast.project_id, Mode.LIVE),
            Scope(cast.stranger.project_id, Mode.TEST),
        ):
            facts = setup_facts(db, foreign, base_url="https://pay.example.com", now=clock())
            assert (facts.connection, facts.products, facts.keys, facts.journey) == (None, (), (), None)
            assert counts(db, foreign).attempts == 0
            with pytest.raises(NotFound):
                journey_facts(db, foreign, attempt_id=attempt.id, now=clock())


@pytest.mark.parametrize(
    ("starts_after", "ends_after", "allowed"),
    [(40, 70, True), (0, 30, False)],
    ids=["bought at the moved clock", "expired at the moved clock"],
)
def test_a_purchase_is_judged_by_the_clock_of_its_side(
    runtime: Runtime, cast: Cast, clock: StandingClock, starts_after: int, ends_after: int, allowed: bool
) -> None:
    side = Scope(cast.project_id, Mode.TEST)
    with runtime.database.write() as db:
        connection = make_connection(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            provider=Provider.SANDBOX,
            clock_offset_seconds=41 * 86_400,
        )
        subject = make_subject(db, project_id=cast.project_id)
        product = make_product(db, project_id=cast.project_id)
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
        make_entitlement(
            db,
            subject=subject,
            attempt_id=attempt.id,
            starts_at=clock() + timedelta(days=starts_after),
            ends_at=clock() + timedelta(days=ends_after),
        )
    with runtime.database.read() as db:
        facts = setup_facts(db, side, base_url="https://pay.example.com", now=clock())
        journey = journey_facts(db, side, attempt_id=attempt.id, now=clock())
    assert facts.journey == journey
    assert timeline(journey, facts.connection, clock()).complete is allowed
    assert (journey.refusal is None) is allowed
