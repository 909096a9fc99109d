"""Units that the default product includes: everybody's who has nothing that hides it. Figures by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import Session, select

from licenzy.catalog.models import Kind, Product, ProductTerms
from licenzy.catalog.rules import terms_of
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import OutboundEvent
from licenzy.entitlements.actions import lock_purchase, project_purchase
from licenzy.entitlements.changed_terms import TERMS
from licenzy.entitlements.grants import OperatorContext, grant
from licenzy.entitlements.holder_batches import change_next
from licenzy.entitlements.holder_preview import preview_version
from licenzy.entitlements.holders import give_to_holders
from licenzy.entitlements.models import Entitlement, Fact, Purchase, State, TermChange, UsageWindow
from licenzy.entitlements.queries import entitlements_of, was_granted
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from licenzy.usage.models import LedgerRow
from licenzy.workspace.audit import Actor
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock
from tests.support.endpoints import make_endpoint
from tests.support.included_units import line
from tests.usage.buying import Customer, consume, customer_with, post, reserve

MARCH_10 = datetime(2026, 3, 10, 15, tzinfo=UTC)
MARCH_11 = datetime(2026, 3, 11, 0, 30, tzinfo=UTC)
"""A Wednesday."""
STRANGER = "user_new"


class Visitors:
    """Subjects of a side whose default product includes units, and a key of that side."""

    def __init__(self, client: FlaskClient, customer: Customer, clock: StandingClock) -> None:
        self.client, self.customer, self.clock = client, customer, clock
        self.database = customer.database

    def consumes(self, units: int, *, ref: str = STRANGER, unit: str = "images", **more: Any) -> Any:
        """The status and what is left; or the code of another refusal."""
        answer = consume(self.client, self.customer, units, ref=ref, unit=unit, **more)
        return answer.status_code, answer.json.get("usage_remaining", answer.json.get("error"))

    def access(self, ref: str = STRANGER) -> Mapping[str, Any]:
        shown: Any = self.client.get(f"/v1/customer/access/{ref}", headers=self.customer.headers).json
        return dict(shown)

    def left(self, ref: str = STRANGER) -> int | None:
        """What is shown as left, which the access check confirms."""
        balance = self.access(ref)["balances"].get("images")
        left = None if balance is None else int(balance["remaining"])
        assert self.has(max(1, left or 0), ref) is bool(left)
        assert self.has((left or 0) + 1, ref) is False
        return left

    def has(self, units: int, ref: str = STRANGER) -> bool:
        allowed: bool = self.asks(units, ref).json["allowed"]
        return allowed

    def asks(self, units: int, ref: str = STRANGER, query: str = "") -> Any:
        body = {"subject_ref": ref, "units": units, "unit": "images"}
        return self.client.post(f"/v1/access/check{query}", json=body, headers=self.customer.headers)

    def reason(self) -> str:
        """Why the access check gives a visitor no unit."""
        return str(self.asks(1, query="?explain=true").json["explain"]["reason"])

    def edits(self, **columns: Any) -> None:
        """The merchant edits the default product, which makes a new version of its terms."""
        with self.database.write() as db:
            product = db.exec(select(Product).where(Product.product_code == "FREE")).one()
            for name, value in columns.items():
                setattr(product, name, value)
            product.terms_version += 1

    def rows(self, table: Any) -> list[Any]:
        with self.database.read() as db:
            return list(db.exec(select(table)))


@pytest.fixture
def visitors(client: FlaskClient, database: Database, cast: Cast, clock: StandingClock) -> Visitors:
    clock.now = MARCH_10
    with database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            kind=Kind.FREE,
            product_code="FREE",
            is_default=True,
            included=[line(units=20, every="day")],
        )
        make_product(db, project_id=cast.project_id, kind=Kind.SUBSCRIPTION, included=[line(unit="texts")])
    return Visitors(client, customer_with(database, cast), clock)


def test_who_only_asks_is_shown_the_units_and_nothing_is_written(visitors: Visitors) -> None:
    subjects = len(visitors.rows(Subject))
    shown = visitors.access()
    assert shown["balances"] == {
        "images": {"remaining": 20, "granted": 20, "renews_at": "2026-03-11T00:00:00Z"}
    }
    assert (shown["entitlements"], shown["status"], shown["has_access"]) == ([], "none", False)
    assert visitors.left() == 20
    explained = visitors.asks(5, query="?explain=true").json["explain"]
    assert (explained["default_product"], explained["entitlement"]) == ("FREE", None)
    assert len(visitors.rows(Subject)) == subjects
    assert [len(visitors.rows(each)) for each in (Entitlement, UsageWindow, Purchase)] == [0, 0, 0]


def test_the_first_call_makes_the_subject_and_one_row_which_no_list_shows(visitors: Visitors) -> None:
    assert visitors.consumes(15) == (200, 5)
    assert visitors.consumes(6) == (409, 5)
    assert visitors.left() == 5
    (row,) = visitors.rows(Entitlement)
    assert (row.source, row.kind, row.product_code, row.state) == ("default", Kind.FREE, "FREE", State.ACTIVE)
    (window,) = visitors.rows(UsageWindow)
    assert (window.starts_at, window.ends_at) == (
        datetime(2026, 3, 10, tzinfo=UTC),
        datetime(2026, 3, 11, tzinfo=UTC),
    )
    listed: Any = visitors.client.get(f"/v1/entitlements/{STRANGER}", headers=visitors.customer.headers)
    assert listed.json["entitlements"] == []
    assert visitors.access()["entitlements"] == []
    with visitors.database.read() as db:
        assert entitlements_of(db, Scope.of(visitors.customer.subject), subject_id=row.subject_id) == []


def test_who_has_it_by_default_is_no_holder_of_it(visitors: Visitors) -> None:
    visitors.consumes(15)
    visitors.edits(features=["export"])
    scope = Scope.of(visitors.customer.subject)
    with visitors.database.write() as db:
        product = db.exec(select(Product).where(Product.product_code == "FREE")).one()
        db.add(
            ProductTerms(
                project_id=scope.project_id,
                product_id=product.id,
                version=2,
                from_=visitors.clock(),
                terms=terms_of(product),
            )
        )
        about: Any = {"product_id": product.id, "version": 2, "now": visitors.clock()}
        assert not was_granted(db, scope, "FREE")
        assert preview_version(db, scope, **about).count == 0
        give_to_holders(db, scope, actor=Actor(None), **about)
    while visitors.database.retrying(lambda db: change_next(db, now=visitors.clock())):
        pass
    (change,) = visitors.rows(TermChange)
    assert (change.state, change.total, change.changed) == ("done", 0, 0)
    assert [each for each in visitors.rows(Fact) if each.data.get("action") == TERMS] == []


def test_a_new_day_begins_with_all_units_and_nothing_carried(visitors: Visitors) -> None:
    visitors.consumes(15)
    visitors.consumes(5)
    assert visitors.reason() == "insufficient_usage"
    visitors.clock.now = MARCH_11
    assert visitors.left() == 20
    assert visitors.consumes(1) == (200, 19)


@pytest.mark.parametrize(
    ("every", "starts_at", "ends_at"),
    [
        ("day", (2026, 3, 10), (2026, 3, 11)),
        ("week", (2026, 3, 9), (2026, 3, 16)),
        ("month", (2026, 3, 1), (2026, 4, 1)),
    ],
)
def test_windows_are_those_of_the_calendar(
    visitors: Visitors, every: str, starts_at: tuple[int, int, int], ends_at: tuple[int, int, int]
) -> None:
    visitors.edits(included=[line(units=20, every=every)])
    visitors.consumes(1)
    (window,) = visitors.rows(UsageWindow)
    assert window.starts_at == datetime(*starts_at, tzinfo=UTC)
    assert window.ends_at == datetime(*ends_at, tzinfo=UTC)


@pytest.mark.parametrize("kind", [Kind.SUBSCRIPTION, Kind.TIME_PASS, Kind.FREE])
def test_what_is_available_hides_it_and_its_window_runs_on(visitors: Visitors, kind: Kind) -> None:
    ref = visitors.customer.subject.subject_ref
    assert visitors.consumes(15, ref=ref) == (200, 5)
    evening = MARCH_10.replace(hour=20)
    visitors.customer.buys(0, kind=kind, ends_at=evening, starts_at=MARCH_10, product_code="PRO")
    assert visitors.left(ref) is None
    assert visitors.consumes(1, ref=ref) == (409, 0)
    assert reserve(visitors.client, visitors.customer, 1, unit="images").status_code == 409
    visitors.clock.now = evening
    assert visitors.left(ref) == 5
    assert visitors.consumes(1, ref=ref) == (200, 4)


def test_who_has_a_subscription_from_the_start_gets_no_row(visitors: Visitors) -> None:
    ref = visitors.customer.subject.subject_ref
    visitors.customer.buys(0, kind=Kind.SUBSCRIPTION, starts_at=MARCH_10, product_code="PRO")
    assert visitors.consumes(1, ref=ref) == (409, 0)
    assert reserve(visitors.client, visitors.customer, 1, unit="images").status_code == 409
    assert [each.source for each in visitors.rows(Entitlement)] == ["stripe"]


def test_packs_stand_beside_it_and_are_drawn_after_it(visitors: Visitors) -> None:
    ref = visitors.customer.subject.subject_ref
    visitors.customer.buys(100, starts_at=MARCH_10, unit="images")
    assert visitors.left(ref) == 120
    assert visitors.consumes(30, ref=ref) == (200, 90)
    (window,) = visitors.rows(UsageWindow)
    assert window.used_units == 20


def test_an_edit_counts_at_once_and_takes_back_nothing_that_was_used(visitors: Visitors) -> None:
    visitors.consumes(15)
    visitors.edits(included=[line(units=50, every="day")])
    assert visitors.left() == 35
    assert visitors.consumes(1) == (200, 34)
    visitors.edits(included=[line(units=10, every="day")])
    assert visitors.left() == 0
    assert visitors.consumes(1) == (409, 0)
    visitors.clock.now = MARCH_11
    assert visitors.left() == 10
    assert visitors.consumes(1) == (200, 9)


def test_other_steps_begin_with_a_window_of_their_own(visitors: Visitors) -> None:
    visitors.consumes(15)
    visitors.edits(included=[line(units=100, every="month")])
    assert visitors.left() == 100
    assert visitors.consumes(1) == (200, 99)
    visitors.edits(included=[line(units=20, every="day")])
    assert visitors.consumes(1) == (200, 4)
    assert visitors.left() == 4


def test_without_the_unit_in_the_default_product_all_is_as_before(visitors: Visitors) -> None:
    subjects = len(visitors.rows(Subject))
    assert visitors.consumes(1, unit="texts") == (409, 0)
    assert visitors.consumes(1, unit="rockets") == (404, "unit_not_found")
    assert visitors.consumes(1, product_code="PRO_MONTHLY") == (409, 0)
    assert visitors.consumes(1, product_code="NOWHERE") == (404, "product_not_found")
    assert len(visitors.rows(Subject)) == subjects
    assert visitors.consumes(1, product_code="FREE") == (200, 19)


@pytest.mark.parametrize("change", [{"is_default": False}, {"archived_at": MARCH_10}, {"included": []}])
def test_what_is_no_longer_given_is_not_drawn(visitors: Visitors, change: dict[str, Any]) -> None:
    visitors.consumes(5)
    visitors.edits(**change)
    assert visitors.left() is None
    assert visitors.reason() == "no_entitlement"
    assert visitors.consumes(1) == (409, 0)


def test_a_reservation_holds_and_returns_them(visitors: Visitors) -> None:
    customer, client = visitors.customer, visitors.client
    ref = customer.subject.subject_ref
    kept: Any = reserve(client, customer, 12, unit="images")
    assert (kept.status_code, kept.json["usage_remaining"]) == (201, 8)
    assert visitors.consumes(9, ref=ref) == (409, 8)
    path = f"/v1/usage/reservations/{kept.json['reservation_id']}/commit"
    done = post(client, customer, path, {"units": 10})
    assert (done.status_code, done.json["usage_remaining"]) == (200, 10)
    assert visitors.left(ref) == 10


@pytest.mark.parametrize("verb", [consume, reserve])
def test_two_first_calls_at_once_make_one_subject_and_one_row(
    app: Flask, visitors: Visitors, verb: Any
) -> None:
    def call(_number: int) -> int:
        body = {"subject_ref": STRANGER, "units": 5, "unit": "images"}
        path = "/v1/usage/consume" if verb is consume else "/v1/usage/reserve"
        if verb is reserve:
            body["ttl_seconds"] = 60
        return int(post(app.test_client(), visitors.customer, path, body, key=f"n-{_number}").status_code)

    with ThreadPoolExecutor(4) as threads:
        answers = sorted(threads.map(call, range(6)))
    assert answers == [200 if verb is consume else 201] * 4 + [409] * 2
    assert [row.source for row in visitors.rows(Entitlement)] == ["default"]
    assert len([each for each in visitors.rows(Subject) if each.subject_ref == STRANGER]) == 1


def test_use_is_told_of_and_the_row_is_not(visitors: Visitors, runtime: Runtime) -> None:
    with visitors.database.write() as db:
        make_endpoint(
            db,
            project_id=visitors.customer.subject.project_id,
            secret_box=runtime.secret_box,
            types=("usage.granted", "usage.consumed", "usage.low"),
        )
    assert visitors.consumes(15) == (200, 5)
    bodies = [json.loads(each.body) for each in visitors.rows(OutboundEvent)]
    told = [(each["type"], each["data"]["product_code"]) for each in bodies]
    assert told == [("usage.consumed", "FREE")]


def test_a_replay_changes_nothing(visitors: Visitors) -> None:
    visitors.consumes(15)

    def written(db: Session) -> list[Any]:
        tables: list[Any] = [Entitlement, UsageWindow, LedgerRow, Purchase]
        return [row.model_dump() for table in tables for row in db.exec(select(table))]

    with visitors.database.write() as db:
        before = written(db)
        (row,) = db.exec(select(Entitlement))
        scope = Scope.of(visitors.customer.subject)
        purchase = lock_purchase(db, scope, key=row.purchase_key, now=MARCH_11)
        assert project_purchase(db, purchase, now=MARCH_11) == []
        db.expire_all()
        assert written(db) == before


def test_a_free_product_that_is_granted_gives_its_own_units(visitors: Visitors, cast: Cast) -> None:
    """A grant hides the default product, so that it must not take the units away."""
    actor = Actor(cast.owner.user_id, "127.0.0.1")
    with visitors.database.write() as db:
        product = db.exec(select(Product).where(Product.product_code == "FREE")).one()
        operator = OperatorContext(Scope.of(visitors.customer.subject), actor, "a gift", MARCH_10)
        grant(db, operator, subject_ref=STRANGER, product=product)
    assert visitors.left() == 20
    assert visitors.consumes(1) == (200, 19)
    assert [each.source for each in visitors.rows(Entitlement)] == ["portal"]
