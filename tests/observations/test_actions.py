from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from licenzy.alignment.modes import Mode
from licenzy.db.background_batch import BackgroundBatcher
from licenzy.db.unit_of_work import Database
from licenzy.observations import actions, queries
from licenzy.observations.models import Noticed
from licenzy.observations.noticing import Noticing
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.setup.stripe_probe import claim_due_probe
from tests.support.cast import Cast, make_connection
from tests.support.clock import StandingClock
from tests.support.ports import wait_until


@pytest.fixture
def side(cast: Cast) -> Scope:
    return Scope(cast.project_id, Mode.TEST)


def test_sightings_are_counted_by_day_and_summed_over_a_week(
    database: Database, side: Scope, clock: StandingClock
) -> None:
    for _day in range(10):
        with database.write() as db:
            for detail in ("first", "last"):
                actions.note_sighting(
                    db, side, kind=Noticed.BROWSER_CALL, about="key_1", detail=detail, now=clock()
                )
        clock.advance(days=1)
    with database.read() as db:
        found = queries.sightings(db, side, now=clock())
        other = queries.sightings(db, Scope(side.project_id, Mode.LIVE), now=clock())
    (seen,) = found[Noticed.BROWSER_CALL]
    assert (seen.about, seen.times, seen.detail) == ("key_1", 12, "last")
    assert seen.last_at == clock() - timedelta(days=1)
    assert not any(other.values())


def test_old_sightings_are_forgotten(database: Database, side: Scope, clock: StandingClock) -> None:
    with database.write() as db:
        actions.note_sighting(db, side, kind=Noticed.BROWSER_CALL, about="key_1", now=clock())
        assert actions.forget_old_sightings(db, now=clock()) == 0
        assert actions.forget_old_sightings(db, now=clock.advance(days=32)) == 1


def test_what_requests_notice_is_written_in_the_background(
    runtime: Runtime, side: Scope, clock: StandingClock
) -> None:
    noticing = Noticing(runtime.database, clock)
    for _call in range(100):
        noticing.note(side, kind=Noticed.PRICE_ID_SENT, about="key_1", detail="price_1")

    def times() -> int:
        with runtime.database.read() as db:
            found = queries.sightings(db, side, now=clock())[Noticed.PRICE_ID_SENT]
        return sum(seen.times for seen in found)

    wait_until(lambda: times() == 100, seconds=5, what="100 calls are counted")


def test_a_flood_of_keys_is_bounded_and_what_waits_is_written_at_the_end(database: Database) -> None:
    written: dict[int, int] = {}
    beside: BackgroundBatcher[int, int] = BackgroundBatcher(
        database, written.update, name="t", merge=lambda a, b: a + b, most=10, pause_seconds=60
    )
    beside.add(0, 1)
    wait_until(lambda: written == {0: 1}, seconds=5, what="the first is written at once")
    for key in range(1, 100):
        beside.add(key, 1)
    beside.add(1, 1)
    beside.stop()
    assert written == {0: 1, 1: 2, **dict.fromkeys(range(2, 11), 1)}


def test_a_look_is_claimed_once_and_again_only_when_due(
    runtime: Runtime, side: Scope, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=side.project_id, secret_box=runtime.secret_box)
        actions.probe_soon(db, side, connection_id=connection.id, now=clock())

    def claimed() -> bool:
        with runtime.database.write() as db:
            return claim_due_probe(db, now=clock()) is not None

    assert [claimed(), claimed()] == [True, False]
    with runtime.database.write() as db:
        actions.keep_answers(
            db, connection_id=connection.id, began=clock(), answers={"key_accepted": True}, problem=None
        )
    clock.advance(minutes=59)
    assert not claimed()
    clock.advance(minutes=1)
    assert claimed()


def test_a_failed_look_keeps_the_earlier_answers_and_a_newer_request(
    runtime: Runtime, side: Scope, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=side.project_id, secret_box=runtime.secret_box)
        actions.probe_soon(db, side, connection_id=connection.id, now=clock())
        asked: dict[str, Any] = {"connection_id": connection.id, "began": clock()}
        actions.keep_answers(db, **asked, answers={"key_accepted": True}, problem=None)
        began = clock.advance(minutes=1)
        actions.probe_again(db, side, now=clock.advance(seconds=1))
        actions.keep_answers(
            db, connection_id=connection.id, began=began, answers=None, problem="Stripe is away."
        )
        look = queries.probe_of(db, side)
    assert look is not None
    assert look.answers == {"key_accepted": True}
    assert look.problem == "Stripe is away."
    assert look.due_at == clock()
