"""Who came for the units of the default product and never came back: over the API, then by the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event as listening
from sqlmodel import select

from licenzy.alignment.facts import NewSubjects
from licenzy.alignment.findings import Finding
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.catalog.models import Kind, Product
from licenzy.connections.models import Connection, Provider
from licenzy.db.unit_of_work import Database
from licenzy.observations.models import ResolvedFinding
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.setup.fact_collector import project_facts
from licenzy.setup.new_subjects import MOST_READ, new_subjects
from licenzy.subjects.models import Subject
from tests.support.cast import Cast, make_connection, make_product
from tests.support.clock import START, StandingClock
from tests.support.included_units import line
from tests.support.purchases import make_entitlement
from tests.usage.buying import Customer, consume, customer_with, reserve

HOUR, DAY, MOMENT = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
LATER = START + 36 * HOUR
"""When START is in the middle of the 24 hours that ended a day ago."""


@pytest.fixture
def side(database: Database, cast: Cast) -> Scope:
    """A side whose default product includes units."""
    with database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            kind=Kind.FREE,
            product_code="FREE",
            is_default=True,
            included=[line(units=20, every="day")],
        )
    return Scope(cast.project_id, Mode.TEST)


@pytest.fixture
def customer(database: Database, cast: Cast, side: Scope) -> Customer:
    """Somebody known before, with a key."""
    return customer_with(database, cast)


def draw(client: FlaskClient, customer: Customer, *refs: str) -> None:
    for ref in refs:
        assert consume(client, customer, 1, ref=ref, unit="images").status_code == 200


def seen(
    database: Database, scope: Scope, *, now: datetime = LATER, fixed_at: datetime | None = None
) -> NewSubjects:
    with database.read() as db:
        return new_subjects(db, scope, now=now, fixed_at=fixed_at)


def found(runtime: Runtime, scope: Scope, *, now: datetime = LATER) -> list[Finding]:
    """The finding, where it is one of the side's."""
    box = runtime.secret_box
    with runtime.database.read() as db:
        facts = project_facts(db, box, project_id=scope.project_id, base_url="https://l.example", now=now)
    return [each for each in findings(facts, scope.mode) if each.code == "many_new_subjects"]


def test_who_drew_once_is_gone_and_who_came_back_is_not(
    client: FlaskClient, database: Database, customer: Customer, side: Scope, clock: StandingClock
) -> None:
    clock.now += MOMENT
    draw(client, customer, "once", "within_the_hour", "back", "buyer", "user_123")
    assert reserve(client, customer, 1, subject_ref="reserved", unit="images").status_code == 201
    clock.advance(hours=1)
    draw(client, customer, "within_the_hour")
    clock.now += MOMENT
    draw(client, customer, "back", "later")
    with database.write() as db:
        make_entitlement(db, subject=db.exec(select(Subject).where(Subject.subject_ref == "buyer")).one())
    here = seen(database, side)
    # user_123 was a customer before it drew.
    assert (here.count, here.gone) == (6, 4)
    assert len(here.examples) == 3
    assert set(here.examples) < {"once", "within_the_hour", "reserved", "later"}
    assert here.last_at == clock()


def test_the_day_is_the_one_that_ended_a_day_ago(
    client: FlaskClient, database: Database, customer: Customer, side: Scope
) -> None:
    draw(client, customer, "first")
    counts = {
        after: seen(database, side, now=START + after).count
        for after in (HOUR, DAY - MOMENT, DAY, 2 * DAY - MOMENT, 2 * DAY)
    }
    assert counts == {HOUR: 0, DAY - MOMENT: 0, DAY: 1, 2 * DAY - MOMENT: 1, 2 * DAY: 0}


def test_nobody_else_s_subjects_are_counted(
    client: FlaskClient, database: Database, cast: Cast, customer: Customer, side: Scope
) -> None:
    draw(client, customer, "first")
    for other in (Scope(cast.project_id, Mode.LIVE), Scope(cast.stranger.project_id, Mode.TEST)):
        assert seen(database, other) == NewSubjects(0, 0)


def test_a_moved_clock_moves_the_day_with_it(
    client: FlaskClient, runtime: Runtime, customer: Customer, side: Scope, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(
            db,
            project_id=side.project_id,
            secret_box=runtime.secret_box,
            provider=Provider.SANDBOX,
            clock_offset_seconds=41 * 86_400,
        )
        ahead = connection.scope
    draw(client, customer, "first")
    here = seen(runtime.database, ahead)
    assert (here.count, here.gone, here.last_at) == (1, 1, START)
    with runtime.database.write() as db:
        row = db.get_one(Connection, connection.id)
        row.clock_offset_seconds = 42 * 86_400
        moved = row.scope
    draw(client, customer, "first")
    here = seen(runtime.database, moved, now=START + 12 * HOUR)
    assert (here.count, here.gone) == (1, 0), "a day of the side's own time went by"


def test_no_more_than_the_last_of_a_day_are_read(
    client: FlaskClient,
    database: Database,
    customer: Customer,
    side: Scope,
    clock: StandingClock,
) -> None:
    for number in range(MOST_READ + 3):
        draw(client, customer, f"u{number}")
        clock.now += MOMENT
    here = seen(database, side)
    last = tuple(f"u{MOST_READ + number}" for number in (2, 1, 0))
    assert (here.count, here.examples) == (MOST_READ, last)


def test_ids_that_never_come_back_are_found_until_they_do_or_somebody_says_so(
    client: FlaskClient, runtime: Runtime, customer: Customer, side: Scope, clock: StandingClock
) -> None:
    draw(client, customer, *(f"user_{number}" for number in range(1000, 1011)))
    draw(client, customer, *(f"{number:032x}" for number in range(88)))
    assert found(runtime, side) == [], "99 of them"
    draw(client, customer, "9" * 200)
    (finding,) = found(runtime, side)
    assert finding.subject == "FREE"
    assert finding.evidence.startswith(
        "Of 100 new subjects in 24 hours, 100 used nothing after their first hour"
    )
    assert "9" * 41 not in finding.evidence
    clock.advance(hours=5)
    draw(client, customer, *(f"user_{number}" for number in range(1000, 1010)))
    assert len(found(runtime, side)) == 1, "ten of a hundred came back"
    draw(client, customer, "user_1010")
    assert found(runtime, side) == [], "eleven did"

    clock.advance(hours=1)
    draw(client, customer, *(f"again_{number}" for number in range(200)))
    assert len(found(runtime, side)) == 1
    with runtime.database.write() as db:
        db.add(
            ResolvedFinding(
                project_id=side.project_id,
                mode=side.mode,
                code="many_new_subjects",
                resolved_at=clock(),
            )
        )
    assert found(runtime, side) == []
    clock.advance(minutes=1)
    draw(client, customer, *(f"after_{number}" for number in range(99)))
    assert found(runtime, side) == [], "those before do not count again"
    draw(client, customer, "after_99")
    assert len(found(runtime, side)) == 1

    with runtime.database.write() as db:
        db.exec(select(Product).where(Product.product_code == "FREE")).one().included = []
    assert found(runtime, side) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_page_reads_few_rows_by_their_keys(database: Database, side: Scope) -> None:
    asked: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        asked.append((statement, values))

    listening.listen(database.engine, "before_cursor_execute", note)
    seen(database, side)
    listening.remove(database.engine, "before_cursor_execute", note)
    ((statement, values),) = [each for each in asked if "usage_ledger" in each[0]]
    with database.read() as db:
        plan = db.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
        steps = [row[-1] for row in plan]
    reads = [step for step in steps if step.startswith(("SCAN", "SEARCH"))]
    assert "created_at>? AND created_at<?" in reads[0]
    assert not [step for step in reads if "usage_ledger" in step and "subject_id=?" not in step]
    assert [step for step in steps if "TEMP B-TREE" in step] == []
    assert len([step for step in reads if step.startswith("SEARCH")]) == 5, steps
