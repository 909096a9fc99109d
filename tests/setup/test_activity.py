"""What a side did over time: each thing in its step, and nothing of another side."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, ProductTerms
from licenzy.checkout.models import AttemptStatus
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.kit.clock import whole_hours
from licenzy.kit.ids import new_id
from licenzy.observations.actions import count_checks
from licenzy.observations.models import CheckCount
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.setup.activity import BY_DAY, BY_HOUR, Activity, Span, _beginnings, activity
from licenzy.subjects.models import Subject
from licenzy.usage.models import LedgerRow
from tests.support.cast import Cast, make_connection, make_product, make_subject
from tests.support.clock import START
from tests.support.purchases import make_attempt, make_entitlement

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
FIRST_HOUR = datetime(2026, 11, 22, 10, tzinfo=UTC)
FIRST_DAY = datetime(2026, 10, 25, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def side(cast: Cast) -> Scope:
    return Scope(cast.project_id, Mode.TEST)


def used(
    db: Session, subject: Subject, units: int, *, at: datetime = NOW, packs: int = 1, **columns: Any
) -> None:
    """One call of the subject that takes so many units of each of some packs."""
    request_id = new_id("req")
    for _pack in range(packs):
        db.add(
            LedgerRow(
                project_id=subject.project_id,
                mode=subject.mode,
                subject_id=subject.id,
                request_id=request_id,
                entitlement_id=make_entitlement(db, subject=subject, **columns).id,
                units=units,
                used_at=at,
            )
        )


def bought(db: Session, connection: Connection, subject: Subject, *, at: datetime | None) -> None:
    product = make_product(
        db, project_id=subject.project_id, mode=subject.mode, product_code=new_id("x").upper()
    )
    status = AttemptStatus.PAID if at else AttemptStatus.OPEN
    attempt = make_attempt(db, connection=connection, subject=subject, product=product)
    attempt.status, attempt.paid_at = status, at


def activity_of(runtime: Runtime, side: Scope, span: Span) -> Activity:
    with runtime.database.read() as db:
        return activity(db, side, span=span, zone=UTC, now=NOW)


@pytest.mark.parametrize(
    ("span", "first", "last"),
    [(BY_HOUR, FIRST_HOUR, NOW.replace(minute=0)), (BY_DAY, FIRST_DAY, NOW.replace(hour=0, minute=0))],
    ids=["by the hour", "by the day"],
)
def test_everything_stands_in_its_step(
    runtime: Runtime, side: Scope, span: Span, first: datetime, last: datetime
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=side.project_id, secret_box=runtime.secret_box)
        subject = make_subject(db, project_id=side.project_id)
        bought(db, connection, subject, at=None)
        for at, times in ((first - MOMENT, 100), (first, 1), (last - MOMENT, 2), (last, 3), (NOW, 4)):
            count_checks(db, side, hour=whole_hours(at), allowed=10 * times, denied=times)
            used(db, subject, 5 * times, at=at, packs=2)
            for _time in range(times if times < 100 else 1):
                bought(db, connection, subject, at=at)
    seen = activity_of(runtime, side, span)
    told = {step.begins: (step.allowed, step.denied, step.purchases, step.units) for step in seen.steps}
    step = timedelta(hours=span.hours)
    assert list(told) == [first + step * n for n in range(span.steps)]
    assert {at: each for at, each in told.items() if any(each)} == {
        first: (10, 1, 1, 10),
        last - step: (20, 2, 2, 20),
        last: (70, 7, 7, 70),
    }
    assert (seen.checks, seen.allowed, seen.denied, seen.purchases, seen.units) == (110, 100, 10, 10, 100)


def test_other_projects_and_the_other_mode_do_not_count(runtime: Runtime, side: Scope, cast: Cast) -> None:
    with runtime.database.write() as db:
        for project_id, mode in ((cast.project_id, Mode.LIVE), (cast.stranger.project_id, Mode.TEST)):
            connection = make_connection(db, project_id=project_id, mode=mode, secret_box=runtime.secret_box)
            subject = make_subject(db, project_id=project_id, mode=mode)
            count_checks(db, Scope(project_id, mode), hour=whole_hours(NOW), allowed=1, denied=1)
            used(db, subject, 1)
            bought(db, connection, subject, at=NOW)
    seen = activity_of(runtime, side, BY_HOUR)
    assert (seen.checks, seen.purchases, seen.units) == (0, 0, 0)
    other = activity_of(runtime, Scope(side.project_id, Mode.LIVE), BY_DAY)
    assert (other.allowed, other.denied, other.purchases, other.units) == (1, 1, 1, 1)


def test_what_a_moved_clock_dates_later_than_now_has_happened_by_now(runtime: Runtime, side: Scope) -> None:
    later = START + timedelta(days=62)
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=side.project_id, secret_box=runtime.secret_box)
        subject = make_subject(db, project_id=side.project_id)
        used(db, subject, 7, at=later)
        bought(db, connection, subject, at=later)
    for span in (BY_HOUR, BY_DAY):
        last = activity_of(runtime, side, span).steps[-1]
        assert (last.purchases, last.units) == (1, 7)


def test_units_are_summed_by_name(database: Database, cast: Cast, side: Scope) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        for code, unit in (("A", "units"), ("B", "images")):
            make_product(
                db, project_id=cast.project_id, kind=Kind.USAGE_PACK, product_code=code, unit=unit, units=1
            )
        for unit, units in (("units", 5), ("images", 7), ("images", 1)):
            used(db, subject, units, unit=unit)
        seen = activity(db, side, span=BY_HOUR, zone=UTC, now=NOW)
    assert list(seen.used.items()) == [("images", 8), ("units", 5)]
    assert seen.steps[-1].used == {"images": 8, "units": 5}


def test_included_units_count_by_their_own_unit(database: Database, cast: Cast, side: Scope) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        make_product(db, project_id=cast.project_id, kind=Kind.USAGE_PACK, product_code="A", units=1)
        product = make_product(db, project_id=cast.project_id, product_code="PRO")
        # The product does not include images any more; windows of its earlier terms were used.
        terms = {"features": [], "included": [{"unit": "images", "units": 9, "every": "month"}]}
        db.add(
            ProductTerms(
                project_id=cast.project_id, product_id=product.id, version=7, from_=START, terms=terms
            )
        )
        used(db, subject, 5)
        used(db, subject, 7)
        plan = make_entitlement(db, subject=subject, product_code="PRO")
        db.add(
            LedgerRow(
                project_id=subject.project_id,
                mode=subject.mode,
                subject_id=subject.id,
                request_id=new_id("req"),
                entitlement_id=plan.id,
                window_starts_at=START,
                unit="images",
                units=20,
                used_at=NOW,
            )
        )
        seen = activity(db, side, span=BY_HOUR, zone=UTC, now=NOW)
    assert list(seen.used.items()) == [("images", 20), ("units", 12)]


def test_days_are_those_of_the_zone() -> None:
    # On 29 March clocks in Berlin go forward: that day has 23 hours.
    begins = _beginnings(BY_DAY, ZoneInfo("Europe/Berlin"), datetime(2026, 3, 30, 21, 59, tzinfo=UTC))
    assert begins[-3:] == [
        datetime(2026, 3, 27, 23, tzinfo=UTC),
        datetime(2026, 3, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
    ]
    assert len(begins) == 30


@pytest.mark.parametrize(
    ("zone", "at", "day_begins"),
    [
        # At 23:00 UTC it is tomorrow in Berlin; at 18:00 it is not yet in Kolkata, which is at +5:30.
        ("Europe/Berlin", datetime(2026, 11, 20, 23, tzinfo=UTC), datetime(2026, 11, 20, 23, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 11, 20, 22, tzinfo=UTC), datetime(2026, 11, 19, 23, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2026, 11, 20, 18, tzinfo=UTC), datetime(2026, 11, 19, 18, 30, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2026, 11, 20, 19, tzinfo=UTC), datetime(2026, 11, 20, 18, 30, tzinfo=UTC)),
    ],
)
def test_checks_count_to_the_day_of_the_zone(
    database: Database, cast: Cast, zone: str, at: datetime, day_begins: datetime
) -> None:
    scope = Scope(cast.project_id, Mode.TEST)
    with database.write() as db:
        db.add(
            CheckCount(
                project_id=scope.project_id, mode=scope.mode, hour=whole_hours(at), allowed=3, denied=0
            )
        )
    with database.read() as db:
        seen = activity(db, scope, span=BY_DAY, zone=ZoneInfo(zone), now=NOW)
    assert [(step.begins, step.allowed) for step in seen.steps if step.allowed] == [(day_begins, 3)]
