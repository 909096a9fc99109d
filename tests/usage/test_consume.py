"""`POST /v1/usage/consume`: all or nothing, once per key, from the packs in their order."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement, State
from licenzy.factory import create_app
from licenzy.settings import Settings
from licenzy.usage.models import LedgerRow
from tests.support.cast import Cast
from tests.support.clock import START, StandingClock
from tests.support.hotpath import LoopClient
from tests.usage.buying import Customer, consume, customer_with

DAY = timedelta(days=1)


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    """Somebody of the owner's project who holds nothing yet."""
    return customer_with(database, cast)


def answer_of(answer: Any) -> tuple[int, Any]:
    return answer.status_code, answer.get_json()


def used(database: Database) -> list[int]:
    with database.read() as db:
        return [row.used_units for row in db.exec(select(Entitlement).order_by(Entitlement.id))]


def test_units_are_taken_and_the_rest_is_told(client: FlaskClient, customer: Customer) -> None:
    customer.buys(1000)
    answer = consume(client, customer, 100)
    assert answer_of(answer) == (200, {"ok": True, "consumed": 100, "usage_remaining": 900})
    assert answer.headers["Licenzy-Mode"] == "test"
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert "Idempotent-Replayed" not in answer.headers
    assert answer_of(consume(client, customer, 900))[1]["usage_remaining"] == 0


def test_the_soonest_to_end_burns_first_then_the_oldest(
    client: FlaskClient, database: Database, customer: Customer
) -> None:
    never = customer.buys(10, created_at=START - 9 * DAY)
    late = customer.buys(10, ends_at=START + 9 * DAY)
    young = customer.buys(10, ends_at=START + 2 * DAY, created_at=START - DAY)
    old = customer.buys(10, ends_at=START + 2 * DAY, created_at=START - 2 * DAY)
    assert answer_of(consume(client, customer, 25, key="k"))[1]["usage_remaining"] == 15
    with database.read() as db:
        rows = {row.entitlement_id: row.units for row in db.exec(select(LedgerRow))}
        left = {row.id: row.granted_units - row.used_units for row in db.exec(select(Entitlement))}
    assert rows == {old: 10, young: 10, late: 5}
    assert left == {old: 0, young: 0, late: 5, never: 10}


def test_all_or_nothing(client: FlaskClient, database: Database, customer: Customer) -> None:
    customer.buys(30)
    customer.buys(10)
    status, body = answer_of(consume(client, customer, 41))
    assert (status, body["error"], body["usage_remaining"]) == (409, "insufficient_usage", 40)
    assert {"message", "hint", "mode", "request_id"} <= set(body)
    assert used(database) == [0, 0]
    with database.read() as db:
        assert db.exec(select(LedgerRow)).all() == []
    assert answer_of(consume(client, customer, 40)) == (
        200,
        {"ok": True, "consumed": 40, "usage_remaining": 0},
    )


@pytest.mark.parametrize(
    "columns",
    [
        {"ends_at": START},
        {"starts_at": START + timedelta(microseconds=1)},
        {"state": State.CANCELED, "voided_at": START},
        {"voided_at": START},
        {"state": State.SUSPENDED, "reason": "disputed"},
        {"state": State.PAUSED},
        {"used_units": 1000},
        {"reserved_units": 1000},
        {"kind": Kind.SUBSCRIPTION},
        {"kind": Kind.TIME_PASS},
    ],
    ids=str,
)
def test_what_is_no_usable_pack(client: FlaskClient, customer: Customer, columns: dict[str, Any]) -> None:
    customer.buys(1000, **columns)
    status, body = answer_of(consume(client, customer, 1))
    assert (status, body["error"], body["usage_remaining"]) == (409, "insufficient_usage", 0)


def test_an_unknown_subject_has_nothing(client: FlaskClient, customer: Customer) -> None:
    assert answer_of(consume(client, customer, 1, ref="nobody"))[1]["usage_remaining"] == 0


def test_a_pack_ends_exactly_at_ends_at(
    client: FlaskClient, customer: Customer, clock: StandingClock
) -> None:
    customer.buys(10, ends_at=START + DAY)
    clock.now = START + DAY - timedelta(microseconds=1)
    assert consume(client, customer, 1).status_code == 200
    clock.now = START + DAY
    assert consume(client, customer, 1).status_code == 409


def test_a_repeat_is_given_the_first_answer_whatever_happened_since(
    client: FlaskClient, database: Database, customer: Customer, clock: StandingClock
) -> None:
    customer.buys(100)
    first = consume(client, customer, 60, key="once")
    assert consume(client, customer, 40).get_json()["usage_remaining"] == 0
    with database.write() as db:
        db.exec(select(Entitlement)).one().state = State.CANCELED
    clock.advance(days=4000)
    again = consume(client, customer, 60, key="once")
    assert (again.status_code, again.data) == (200, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert used(database) == [100]


def test_a_refusal_is_replayed_too(client: FlaskClient, customer: Customer) -> None:
    customer.buys(5)
    first = consume(client, customer, 6, key="once")
    customer.buys(1000)
    again = consume(client, customer, 6, key="once")
    assert (again.status_code, again.data) == (409, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert consume(client, customer, 6, key="twice").status_code == 200


def test_the_same_key_for_another_body(client: FlaskClient, database: Database, customer: Customer) -> None:
    customer.buys(100)
    assert consume(client, customer, 1, key="once").status_code == 200
    for units, ref in ((2, None), (1, "somebody else")):
        status, body = answer_of(consume(client, customer, units, key="once", ref=ref))
        assert (status, body["error"]) == (409, "idempotency_key_reused")
    assert used(database) == [1]


def test_the_same_key_elsewhere_is_another(client: FlaskClient, database: Database, cast: Cast) -> None:
    """Two projects, two modes: four effects."""
    customers = [
        customer_with(database, cast, project_id=project_id, mode=mode)
        for project_id in (cast.project_id, cast.stranger.project_id)
        for mode in Mode
    ]
    for number, each in enumerate(customers, 1):
        each.buys(1000 * number)
    for _ in range(2):
        for number, each in enumerate(customers, 1):
            answer = consume(client, each, 100, key="the same")
            assert answer.get_json()["usage_remaining"] == 1000 * number - 100
    assert used(database) == [100] * 4


UNITS: list[Any] = [0, -1, 1.0, 1.5, "1", True, None, [1], {}, 10**9 + 1, 2**31, 2**53 + 1, 2**63, 2**64]


@pytest.mark.parametrize("units", UNITS, ids=str)
def test_bad_units_are_refused(client: FlaskClient, customer: Customer, units: Any) -> None:
    customer.buys(10**12)
    status, body = answer_of(consume(client, customer, units))
    assert (status, body["error"]) == (400, "invalid_request")
    assert body["fields"] == {"units": "must be a whole number from 1 to 1000000000"}


def test_sums_beyond_32_and_53_bits(client: FlaskClient, database: Database, customer: Customer) -> None:
    customer.buys(2**62 + 1)
    body = consume(client, customer, 10**9).get_json()
    assert body["usage_remaining"] == 2**62 + 1 - 10**9
    customer.buys(2**61)
    assert consume(client, customer, 10**9).get_json()["usage_remaining"] == 2**62 + 2**61 + 1 - 2 * 10**9
    with database.write() as db:
        pack = db.exec(select(Entitlement).where(Entitlement.granted_units == 2**62 + 1)).one()
        pack.used_units = pack.granted_units - 5
    assert consume(client, customer, 10**9).get_json()["usage_remaining"] == 2**61 - 10**9 + 5


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_a_dead_key_consumes_nothing_from_the_next_call_on(
    client: FlaskClient, database: Database, customer: Customer, column: str
) -> None:
    customer.buys(10)
    assert consume(client, customer, 1).status_code == 200
    customer.loses_key(**{column: START})
    for key in ("fresh", "another"):
        status, body = answer_of(consume(client, customer, 1, key=key))
        assert (status, body["error"]) == (
            401,
            {"revoked_at": "api_key_revoked", "expires_at": "api_key_expired"}[column],
        )
    assert used(database) == [1]


def test_a_sandbox_clock_that_was_moved_decides(
    client: FlaskClient, database: Database, customer: Customer
) -> None:
    customer.buys(10, ends_at=START + DAY)
    customer.connects(clock_offset_seconds=86_399)
    assert consume(client, customer, 1).status_code == 200
    customer.moves_clock_to(86_400)
    assert consume(client, customer, 1).status_code == 409


class TickingClock(StandingClock):
    """A second later each time that it is looked at."""

    def __call__(self) -> datetime:
        return self.advance(seconds=1)


@pytest.mark.parametrize("on_the_loop", [False, True])
def test_a_key_that_ends_meanwhile_either_consumes_or_is_refused(
    settings: Settings, database: Database, cast: Cast, on_the_loop: bool
) -> None:
    clock = TickingClock()
    app = create_app(settings, clock=clock)
    customer = customer_with(database, cast)
    customer.buys(100)
    client: Any = LoopClient(app) if on_the_loop else app.test_client()
    assert consume(client, customer, 1).status_code == 200, "the key is known from here on"
    seen = []
    for ends_after in range(8):
        customer.loses_key(expires_at=clock.now + timedelta(seconds=ends_after, milliseconds=500))
        before = left(database)
        answer = consume(client, customer, 1)
        assert left(database) == before - (answer.status_code == 200), ends_after
        seen.append(answer.status_code)
    assert set(seen) == {200, 401}
    app.extensions["licenzy"].database.close()


def left(database: Database) -> int:
    with database.read() as db:
        pack = db.exec(select(Entitlement)).one()
        return pack.granted_units - pack.used_units
