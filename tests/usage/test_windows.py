"""Included units over HTTP: which calls draw which window, and what is shown of it. Figures by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import Session, col, select

from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import OutboundEvent
from licenzy.entitlements.actions import lock_purchase, withdraw_purchase
from licenzy.entitlements.events import REPLAYED
from licenzy.entitlements.models import Entitlement, UsageWindow
from licenzy.entitlements.queries import recorded_facts
from licenzy.kit.clock import from_unix
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.usage.models import Hold, LedgerRow
from licenzy.usage.windows import open_due_windows
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock
from tests.support.endpoints import make_endpoint
from tests.support.included_units import (
    ANCHOR,
    APRIL,
    DAY,
    FEBRUARY,
    HOUR,
    MARCH,
    billed,
    line,
    of_month,
    of_year,
    paid,
    record,
    sold,
    state,
)
from tests.support.threads import run_in_overlapping_transactions
from tests.usage.buying import Customer, consume, customer_with, post, reserve

CARRIED = {"at_most": 500}


class Holder:
    """Somebody with a subscription that includes images, and the clock that calls are decided by."""

    def __init__(self, client: FlaskClient, customer: Customer, clock: StandingClock) -> None:
        self.client, self.customer, self.clock = client, customer, clock

    def records(self, facts: Sequence[Any], now: int) -> None:
        self.clock.now = from_unix(now)
        with self.customer.database.write() as db:
            record(db, self.customer.subject, facts, now=self.clock.now)

    def consumes(self, units: int, now: int | None = None, **more: Any) -> tuple[int, int]:
        """The status, and what is left."""
        if now is not None:
            self.clock.now = from_unix(now)
        answer = consume(self.client, self.customer, units, unit="images", **more)
        body = answer.json
        return answer.status_code, body["usage_remaining"]

    def included(self) -> dict[str, Any]:
        """What is shown of the included images."""
        ref = self.customer.subject.subject_ref
        shown: Any = self.client.get(f"/v1/entitlements/{ref}", headers=self.customer.headers).json
        (found,) = [each["included"] for each in shown["entitlements"] if each["included"]]
        return dict(found[0])

    def balance(self) -> dict[str, Any]:
        ref = self.customer.subject.subject_ref
        shown: Any = self.client.get(f"/v1/customer/access/{ref}", headers=self.customer.headers).json
        return dict(shown["balances"]["images"])

    def check(self, *, query: str = "", **more: Any) -> Any:
        body = {"subject_ref": self.customer.subject.subject_ref, **more}
        return self.client.post(f"/v1/access/check{query}", json=body, headers=self.customer.headers)

    def checks(self, **more: Any) -> tuple[bool, str | None]:
        """Whether it is allowed, which both forms of the call say, and why not."""
        explained = self.check(query="?explain=true", **more).json
        assert self.check(**more).json["allowed"] is explained["allowed"]
        return explained["allowed"], explained["explain"]["reason"]

    def windows(self) -> list[UsageWindow]:
        with self.customer.database.read() as db:
            return list(db.exec(select(UsageWindow).order_by(col(UsageWindow.starts_at))))


@pytest.fixture
def holder(client: FlaskClient, database: Database, cast: Cast, clock: StandingClock) -> Holder:
    with database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            kind=Kind.SUBSCRIPTION,
            product_code="PRO",
            included=[line()],
        )
    clock.now = from_unix(ANCHOR)
    return Holder(client, customer_with(database, cast), clock)


def test_a_window_is_shown_without_a_row_and_opened_by_the_first_call(holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    shown = {
        "unit": "images",
        "granted": 1000,
        "remaining": 1000,
        "carried": 0,
        "starts_at": "2026-01-15T10:00:00Z",
        "renews_at": "2026-02-15T10:00:00Z",
    }
    assert holder.included() == shown
    assert holder.balance() == {"remaining": 1000, "granted": 1000, "renews_at": "2026-02-15T10:00:00Z"}
    assert holder.windows() == []
    assert holder.consumes(300) == (200, 700)
    assert holder.included() == shown | {"remaining": 700}
    assert holder.consumes(701) == (409, 700)
    assert holder.consumes(700) == (200, 0)
    assert holder.balance()["remaining"] == 0
    (row,) = holder.windows()
    assert (row.granted_units, row.used_units) == (1000, 1000)


def test_each_month_begins_anew_and_what_is_left_is_carried_once(holder: Holder) -> None:
    holder.records(of_year(rollover=CARRIED), ANCHOR + HOUR)
    assert holder.consumes(400) == (200, 600)
    assert holder.consumes(0 + 1, FEBRUARY) == (200, 1499)
    assert holder.included() == {
        "unit": "images",
        "granted": 1000,
        "remaining": 1499,
        "carried": 500,
        "starts_at": "2026-02-15T10:00:00Z",
        "renews_at": "2026-03-15T10:00:00Z",
    }
    # Carried units go first: of the 1,000 of February 900 are left, and 500 of them go on.
    assert holder.consumes(599) == (200, 900)
    holder.clock.now = from_unix(MARCH)
    assert holder.balance() == {"remaining": 1500, "granted": 1500, "renews_at": "2026-04-15T10:00:00Z"}
    assert holder.consumes(1500) == (200, 0)
    assert holder.consumes(1000, APRIL) == (200, 0)


def test_nobody_is_without_units_between_the_turn_of_a_period_and_its_charge(holder: Holder) -> None:
    terms = sold(line())
    holder.records(of_month(terms), ANCHOR + HOUR)
    assert holder.consumes(900) == (200, 100)
    holder.records([state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2")], FEBRUARY + 1)
    assert holder.consumes(40, FEBRUARY + 1800) == (200, 60)
    assert holder.balance() == {"remaining": 60, "granted": 1000, "renews_at": None}
    holder.records([paid("in_2", FEBRUARY + HOUR, billed((FEBRUARY, MARCH)))], FEBRUARY + HOUR)
    assert holder.consumes(10) == (200, 990)


def test_in_grace_what_is_left_can_be_used_and_nothing_new_opens(holder: Holder) -> None:
    terms = sold(line())
    holder.records(of_month(terms), ANCHOR + HOUR)
    assert holder.consumes(900) == (200, 100)
    failed = state(FEBRUARY + HOUR, terms, span=(FEBRUARY, MARCH), status="past_due", invoice="in_2")
    holder.records([failed], FEBRUARY + HOUR)
    assert holder.consumes(50, FEBRUARY + DAY) == (200, 50)
    assert holder.consumes(51) == (409, 50)
    # Three days of grace are over.
    assert holder.consumes(1, FEBRUARY + 4 * DAY) == (409, 0)
    holder.records([paid("in_2", FEBRUARY + 5 * DAY, billed((FEBRUARY, MARCH)))], FEBRUARY + 5 * DAY)
    assert holder.consumes(1) == (200, 999)


def test_packs_burn_after_what_ends_sooner(holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    never = holder.customer.buys(50, unit="images", product_code="MORE")
    soon = holder.customer.buys(
        30, unit="images", product_code="MORE", starts_at=from_unix(ANCHOR), ends_at=from_unix(ANCHOR + DAY)
    )
    with holder.customer.database.write() as db:
        db.get_one(
            Entitlement, (holder.customer.subject.project_id, holder.customer.subject.mode, never)
        ).starts_at = from_unix(ANCHOR)
    assert holder.consumes(40) == (200, 1040)
    with holder.customer.database.read() as db:
        packs = {each.id: each.used_units for each in db.exec(select(Entitlement))}
        ledger = db.exec(select(LedgerRow).order_by(col(LedgerRow.units))).all()
    assert (packs[soon], packs[never]) == (30, 0)
    assert [(row.units, row.unit, row.window_starts_at) for row in ledger] == [
        (10, "images", from_unix(ANCHOR)),
        (30, None, None),
    ]
    assert holder.consumes(991, product_code="PRO") == (409, 990)
    assert holder.consumes(990, product_code="PRO") == (200, 0)


def test_a_reservation_over_the_end_of_a_window_gives_back_what_is_carried_over(holder: Holder) -> None:
    holder.records(of_year(rollover=CARRIED), ANCHOR + HOUR)
    holder.clock.now = from_unix(FEBRUARY - HOUR)
    made = reserve(holder.client, holder.customer, 900, unit="images", ttl_seconds=86_400).json
    assert made["usage_remaining"] == 100
    # 100 are left and carried over.
    assert holder.consumes(100, FEBRUARY) == (200, 1000)
    done = post(
        holder.client,
        holder.customer,
        f"/v1/usage/reservations/{made['reservation_id']}/commit",
        {"units": 200},
    )
    assert done.json == {"ok": True, "consumed": 200, "released": 700, "usage_remaining": 1400}
    # 800 of January were not used, of which 500 may be carried over: 100 of them are used up.
    january, february = holder.windows()
    assert (january.used_units, january.reserved_units, january.spent_at_end) == (200, 0, 200)
    assert (february.carried_units, february.used_units) == (500, 100)
    with holder.customer.database.read() as db:
        (hold,) = db.exec(select(Hold))
    assert hold.window_starts_at == from_unix(ANCHOR)


def test_a_reservation_that_is_over_holds_nothing_back(holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    assert reserve(holder.client, holder.customer, 900, unit="images", ttl_seconds=60).status_code == 201
    assert holder.balance()["remaining"] == 100
    holder.clock.advance(seconds=61)
    assert holder.balance()["remaining"] == 1000
    assert holder.consumes(1000) == (200, 0)


def test_what_a_fall_leaves_overdrawn_comes_off_the_next_window(holder: Holder) -> None:
    terms = sold(line())
    holder.records(of_month(terms, quantity=3), ANCHOR + HOUR)
    assert holder.consumes(2500) == (200, 500)
    middle = ANCHOR + (FEBRUARY - ANCHOR) // 2
    fall = state(middle, terms, span=(ANCHOR, FEBRUARY), quantity=1, invoice="in_1")
    holder.records([fall], middle)
    # 2,000 by its time, of which 2,500 are used: nothing is taken back, nothing is left.
    assert holder.consumes(1) == (409, 0)
    assert holder.windows()[0].granted_units == 2500
    holder.records(
        [
            state(FEBRUARY, terms, span=(FEBRUARY, MARCH), quantity=1, invoice="in_2"),
            paid("in_2", FEBRUARY, billed((FEBRUARY, MARCH))),
        ],
        FEBRUARY,
    )
    assert holder.consumes(1) == (200, 499)
    assert holder.windows()[1].overdrawn_units == 500


def test_a_fact_that_comes_late_changes_the_size_and_never_fails(holder: Holder) -> None:
    terms = sold(line(rollover=CARRIED))
    middle = ANCHOR + (FEBRUARY - ANCHOR) // 2
    holder.records(of_year(line(rollover=CARRIED)), ANCHOR + HOUR)
    assert holder.consumes(1000) == (200, 0)
    assert holder.consumes(1, FEBRUARY) == (200, 999)
    year = ANCHOR, billed_end()
    late = [
        state(middle, terms, span=year, quantity=2, invoice="in_2"),
        paid(
            "in_2", middle, billed((middle, year[1]), 9000, quantity=2, proration=True),
            reason="subscription_update",
        ),
    ]  # fmt: skip
    holder.records(late, FEBRUARY + HOUR)
    # January had 1,500 by then, so 500 more are carried over; February has 2,000.
    assert holder.included() | {"starts_at": ""} == {
        "unit": "images",
        "granted": 2000,
        "remaining": 2499,
        "carried": 500,
        "starts_at": "",
        "renews_at": "2026-03-15T10:00:00Z",
    }
    assert holder.consumes(2499) == (200, 0)


def billed_end() -> int:
    return of_year()[0].data["items"][0]["period_end"]  # type: ignore[no-any-return]


def test_an_annual_plan_has_no_row_until_it_is_used(holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    for month in (FEBRUARY, MARCH, APRIL):
        holder.clock.now = from_unix(month)
        assert holder.balance()["remaining"] == 1000
    assert holder.windows() == []
    assert holder.consumes(1) == (200, 999)
    assert len(holder.windows()) == 1


def test_first_calls_of_a_window_at_once_open_it_once(app: Flask, holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)

    def call(number: int) -> int:
        return int(
            consume(
                app.test_client(), holder.customer, 10, unit="images", key=f"at-once-{number}"
            ).status_code
        )

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(call, range(120)))
    assert (statuses.count(200), statuses.count(409)) == (100, 20)
    (row,) = holder.windows()
    assert (row.used_units, row.granted_units) == (1000, 1000)


@pytest.mark.parametrize(
    ("body", "allowed", "reason"),
    [
        ({"units": 700, "unit": "images"}, True, None),
        ({"units": 701, "unit": "images"}, False, "insufficient_usage"),
        ({"units": 700, "unit": "images", "product_code": "PRO"}, True, None),
        ({"units": 1, "unit": "images", "product_code": "MORE"}, False, "insufficient_usage"),
        ({}, True, None),
    ],
)
def test_a_check_asks_for_units(
    holder: Holder, cast: Cast, body: dict[str, Any], allowed: bool, reason: str | None
) -> None:
    with holder.customer.database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            kind=Kind.USAGE_PACK,
            product_code="MORE",
            unit="images",
            units=1,
        )
    holder.records(of_year(), ANCHOR + HOUR)
    assert holder.consumes(300) == (200, 700)
    assert holder.checks(**body) == (allowed, reason)
    assert holder.balance()["remaining"] == 700


def test_a_check_of_units_that_nobody_sells_is_refused(holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    answer = holder.check(units=1, unit="songs")
    assert (answer.status_code, answer.json["error"], answer.json["units"]) == (
        404,
        "unit_not_found",
        ["images"],
    )
    answer = holder.check(units=1, feature="export")
    assert (answer.status_code, list(answer.json["fields"])) == (400, ["units"])
    answer = holder.check(unit="images")
    assert (answer.status_code, list(answer.json["fields"])) == (400, ["units"])


def test_a_check_of_units_of_what_has_ended_says_why(holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    year = ANCHOR, billed_end()
    holder.records([state(ANCHOR + DAY, sold(line()), span=year, pause="void")], ANCHOR + DAY)
    assert holder.checks(units=1, unit="images") == (False, "paused")


@pytest.mark.parametrize("ends", ["refunded", "canceled"])
def test_windows_of_what_is_not_available_give_nothing(holder: Holder, ends: str) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    assert holder.consumes(1) == (200, 999)
    year = ANCHOR, billed_end()
    if ends == "canceled":
        holder.records(
            [state(ANCHOR + DAY, sold(line()), span=year, status="canceled", ended_at=ANCHOR + DAY)],
            ANCHOR + DAY,
        )
    else:
        holder.records([state(ANCHOR + DAY, sold(line()), span=year, pause="void")], ANCHOR + DAY)
    assert holder.consumes(1) == (409, 0)
    assert holder.consumes(1, FEBRUARY) == (409, 0)
    assert len(holder.windows()) == 1


def test_endpoints_are_told_of_windows_and_low_marks(holder: Holder, runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        make_endpoint(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            types=("usage.granted", "usage.consumed", "usage.low"),
        )
    holder.records(of_year(line(low_units=100)), ANCHOR + HOUR)
    assert holder.consumes(850) == (200, 150)
    assert holder.consumes(60) == (200, 90)
    assert holder.consumes(10) == (200, 80)
    with holder.customer.database.read() as db:
        bodies = [json.loads(event.body) for event in db.exec(select(OutboundEvent))]
    records = {(each["type"], each["data"]["units"], each["data"]["usage_remaining"]) for each in bodies}
    assert len(bodies) == 5
    assert records == {
        ("usage.granted", 1000, 1000),
        ("usage.consumed", 850, 150),
        ("usage.consumed", 60, 90),
        ("usage.low", None, 90),
        ("usage.consumed", 10, 80),
    }


def test_a_fact_grants_no_more_than_opening_did(holder: Holder) -> None:
    terms = sold(line(rollover={"at_most": None}))
    year = ANCHOR, billed_end()
    three = [
        state(ANCHOR, terms, span=year, quantity=3, invoice="in_1"),
        paid("in_1", ANCHOR, billed(year, quantity=3), reason="subscription_create"),
    ]
    holder.records(three, ANCHOR + HOUR)
    assert holder.consumes(2500) == (200, 500)
    middle = ANCHOR + (FEBRUARY - ANCHOR) // 2
    holder.records([state(middle, terms, span=year, quantity=1, invoice="in_1")], middle)
    # January had 2,000. What was taken beyond comes off February, which nobody uses, so 500 of it go on.
    assert holder.consumes(1, MARCH) == (200, 1499)
    holder.records([state(MARCH + HOUR, terms, span=year, quantity=1, invoice="in_1")], MARCH + HOUR)
    assert holder.balance()["remaining"] == 1499


def test_windows_of_a_purchase_that_was_taken_away_are_not_given_twice(holder: Holder) -> None:
    pro = sold(line(), price="price_max", code="MAX")
    year = ANCHOR, billed_end()
    holder.records(of_year(), ANCHOR + HOUR)
    assert holder.consumes(900) == (200, 100)
    middle = ANCHOR + (FEBRUARY - ANCHOR) // 2
    swap = state(middle, pro, span=year, item="si_2", invoice="in_1")
    holder.records([swap], middle)
    left = holder.balance()["remaining"]
    scope = Scope.of(holder.customer.subject)
    with holder.customer.database.write() as db:
        purchase = lock_purchase(db, scope, key="sub_1", now=holder.clock.now)
        facts = recorded_facts(db, scope, purchase_key="sub_1")
        withdraw_purchase(db, purchase, facts=facts, cause=REPLAYED, now=holder.clock.now)
    assert holder.consumes(1) == (409, 0)
    holder.records([], middle + HOUR)
    assert holder.balance()["remaining"] == left


def test_terms_without_units_and_back_take_nothing_from_whoever_has_them(holder: Holder) -> None:
    year, carried = (ANCHOR, billed_end()), line(rollover=CARRIED)
    holder.records(of_year(carried), ANCHOR + HOUR)
    assert holder.consumes(300) == (200, 700)
    assert holder.consumes(200, FEBRUARY) == (200, 1300)
    # What the earliest fact says was sold counts, whichever fact comes later.
    holder.records([state(ANCHOR - 10, sold(), span=year, invoice="in_1")], FEBRUARY + HOUR)
    assert holder.consumes(1) == (409, 0)
    _january, february = holder.windows()
    assert february.granted_units + february.carried_units == february.used_units
    holder.records([state(ANCHOR - 20, sold(carried), span=year, invoice="in_1")], FEBRUARY + HOUR)
    assert holder.consumes(1) == (200, 1299)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_purchase_that_is_taken_away_while_a_call_opens_its_window(holder: Holder) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    scope, now = Scope.of(holder.customer.subject), holder.clock.now

    def taken_away(db: Session) -> None:
        purchase = lock_purchase(db, scope, key="sub_1", now=now)
        facts = recorded_facts(db, scope, purchase_key="sub_1")
        withdraw_purchase(db, purchase, facts=facts, cause=REPLAYED, now=now)

    def opens(db: Session) -> None:
        open_due_windows(db, scope, subject_id=holder.customer.subject.id, now=now, called_at=now)

    run_in_overlapping_transactions(holder.customer.database, taken_away, opens)
    assert holder.windows() == []
