"""Operators add and take included units: of the present window alone, and never what is used or reserved."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import Session, col, select

from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements import grants
from licenzy.entitlements.events import Change
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement, Fact
from licenzy.errors import InvalidRequest
from licenzy.kit.clock import from_unix
from licenzy.projects.scope import Scope
from licenzy.stripe_events.replay import replay_purchases
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.entitlements.rows import row
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock
from tests.support.included_units import (
    ANCHOR,
    DAY,
    FEBRUARY,
    HOUR,
    MARCH,
    line,
    of_month,
    of_year,
    sold,
    state,
)
from tests.usage.buying import consume, customer_with, reserve
from tests.usage.test_windows import CARRIED, Holder


class Operated(Holder):
    """A holder whose units an operator adjusts."""

    actor: Actor

    def adjusts(self, units: int, unit: str = "images", act: str | None = None) -> list[Change]:
        subject = self.customer.subject
        operator = OperatorContext(
            Scope.of(subject), self.actor, "as agreed", self.clock.now, submission_id=act
        )
        holds = select(Entitlement.id).where(col(Entitlement.included).is_not(None))

        def adjust(db: Session) -> list[Change]:
            found = db.exec(holds).one()
            return grants.adjust_included(db, operator, entitlement_id=found, unit=unit, units=units)

        return self.customer.database.retrying(adjust)

    def entitlement(self) -> dict[str, Any]:
        with self.customer.database.read() as db:
            return db.exec(select(Entitlement)).one().model_dump()

    def rows(self) -> Sequence[dict[str, Any]]:
        return [each.model_dump() for each in self.windows()]


@pytest.fixture
def holder(client: FlaskClient, database: Database, cast: Cast, clock: StandingClock) -> Operated:
    with database.write() as db:
        make_product(
            db, project_id=cast.project_id, kind=Kind.SUBSCRIPTION, product_code="PRO", included=[line()]
        )
    clock.now = from_unix(ANCHOR)
    holder = Operated(client, customer_with(database, cast), clock)
    holder.actor = Actor(cast.owner.user_id, "127.0.0.1")
    return holder


@row("operator.adjust_window")
def test_units_are_added_to_a_window_that_nobody_has_used(holder: Operated) -> None:
    holder.records(of_year(rollover=CARRIED), ANCHOR + HOUR)
    holder.clock.advance(seconds=1)
    (change,) = holder.adjusts(200)
    assert (change["before"], change["after"]) == (
        {"unit": "images", "included_units": 1000},
        {"unit": "images", "included_units": 1200},
    )
    assert (holder.included()["granted"], holder.windows()) == (1200, [])
    assert holder.consumes(1150) == (200, 50)
    # What is left of it is carried over as all else is, and the next window is as large as ever.
    assert holder.consumes(1, FEBRUARY) == (200, 1049)
    holder.clock.now = from_unix(MARCH)
    assert holder.included()["granted"] == 1000


@row("operator.adjust_window")
def test_units_are_taken_down_to_what_is_used_and_reserved(holder: Operated) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    assert holder.consumes(300) == (200, 700)
    assert reserve(holder.client, holder.customer, 200, unit="images").status_code == 201
    with pytest.raises(InvalidRequest) as refused:
        holder.adjusts(-501)
    assert refused.value.fields == {"units": "would remove units that are already used or reserved"}
    assert holder.adjusts(-500) != []
    assert holder.consumes(1) == (409, 0)
    assert holder.adjusts(10) != []
    assert holder.consumes(10) == (200, 0)
    (window,) = holder.windows()
    assert (window.granted_units, window.used_units, window.reserved_units) == (510, 310, 200)


def test_carried_units_are_drawn_before_those_that_can_be_taken(holder: Operated) -> None:
    holder.records(of_year(rollover=CARRIED), ANCHOR + HOUR)
    assert holder.consumes(1) == (200, 999)
    assert holder.consumes(600, FEBRUARY) == (200, 900)
    # 500 of the 600 were carried over: 100 of the 1,000 of February are used.
    with pytest.raises(InvalidRequest):
        holder.adjusts(-901)
    assert holder.adjusts(-900) != []
    assert holder.consumes(1) == (409, 0)


def test_between_periods_the_window_that_is_still_usable_is_adjusted(holder: Operated) -> None:
    terms = sold(line())
    holder.records(of_month(terms), ANCHOR + HOUR)
    assert holder.consumes(1000) == (200, 0)
    holder.records([state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2")], FEBRUARY + 1)
    holder.clock.now = from_unix(FEBRUARY + 60)
    assert holder.adjusts(5) != []
    assert holder.consumes(5) == (200, 0)
    assert holder.windows()[0].granted_units == 1005


def test_what_cannot_be_adjusted_is_refused(holder: Operated) -> None:
    terms = sold(line())
    holder.records(of_month(terms), ANCHOR + HOUR)
    for units in (0, 10**9 + 1, -(10**9) - 1):
        with pytest.raises(InvalidRequest) as refused:
            holder.adjusts(units)
        assert "units" in refused.value.fields
    with pytest.raises(InvalidRequest) as refused:
        holder.adjusts(1, unit="songs")
    assert "unit" in refused.value.fields
    over = state(ANCHOR + DAY, terms, span=(ANCHOR, FEBRUARY), status="canceled", ended_at=ANCHOR + DAY)
    holder.records([over], ANCHOR + DAY)
    with pytest.raises(InvalidRequest) as refused:
        holder.adjusts(1)
    assert "stays canceled" in refused.value.message


def test_an_adjustment_is_audited_done_once_and_replays_to_the_same(holder: Operated) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    assert holder.consumes(300) == (200, 700)
    assert len(holder.adjusts(50, act="a1")) == 1
    assert holder.adjusts(50, act="a1") == []
    assert len(holder.adjusts(-10)) == 1
    with holder.customer.database.read() as db:
        entries = db.exec(select(AuditEntry).where(AuditEntry.action == "entitlement.adjust_window")).all()
        acts = db.exec(select(Fact).where(Fact.kind == "operator").order_by(Fact.id)).all()
    assert [each.after for each in entries] == [
        {"unit": "images", "included_units": 1050},
        {"unit": "images", "included_units": 1040},
    ]
    assert [(each.data["starts_at"], each.data["units"]) for each in acts] == [(ANCHOR, 50), (ANCHOR, -10)]
    before = holder.entitlement(), holder.rows()
    replayed = replay_purchases(holder.customer.database, clock=holder.clock)
    assert [changes for _key, changes in replayed] == [[]]
    assert (holder.entitlement(), holder.rows()) == before
    assert before[1][0]["granted_units"] == 1040


def test_units_are_taken_and_drawn_at_the_same_time(holder: Operated, app: Flask) -> None:
    holder.records(of_year(line(units=300)), ANCHOR + HOUR)

    def draws(number: int) -> int:
        key = f"drawn-{number}"
        answer = consume(app.test_client(), holder.customer, 10, unit="images", key=key)
        return 10 if answer.status_code == 200 else 0

    def takes(_number: int) -> int:
        try:
            return 10 * len(holder.adjusts(-10))
        except InvalidRequest:
            return 0

    with ThreadPoolExecutor(8) as threads:
        drawing = [threads.submit(draws, number) for number in range(25)]
        taking = [threads.submit(takes, number) for number in range(25)]
        drawn, taken = (sum(each.result() for each in done) for done in (drawing, taking))
    assert drawn + taken == 300
    (window,) = holder.windows()
    assert (window.granted_units, window.used_units) == (300 - taken, drawn)


def test_units_of_a_manual_grant_are_adjusted(holder: Operated, cast: Cast) -> None:
    with holder.customer.database.write() as db:
        product = make_product(
            db, project_id=cast.project_id, kind=Kind.SUBSCRIPTION, product_code="GIFT", included=[line()]
        )
        operator = OperatorContext(
            Scope.of(holder.customer.subject), holder.actor, "a gift", holder.clock.now
        )
        until = holder.clock.now + timedelta(days=90)
        grants.grant(db, operator, subject_ref="user_123", product=product, until=until)
    assert holder.consumes(1) == (200, 999)
    holder.clock.now = from_unix(FEBRUARY)
    assert len(holder.adjusts(-600)) == 1
    assert holder.consumes(401) == (409, 400)
    assert holder.consumes(400) == (200, 0)
    before = holder.entitlement(), holder.rows()
    assert [changes for _key, changes in replay_purchases(holder.customer.database, clock=holder.clock)] == [
        []
    ]
    assert (holder.entitlement(), holder.rows()) == before
    holder.clock.now = from_unix(MARCH)
    assert holder.included()["granted"] == 1000
