"""Reservations: set aside, committed, released, over; the answers of each when it is repeated."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement, State
from licenzy.kit import deadline
from licenzy.kit.ids import new_id
from licenzy.usage.models import Closing, LedgerRow, Reservation
from tests.support.cast import Cast
from tests.support.clock import START, StandingClock
from tests.support.worker import work_once
from tests.usage.buying import Customer, consume, customer_with, post, reserve

DAY = timedelta(days=1)


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    return customer_with(database, cast)


@pytest.fixture
def reserved(client: FlaskClient, customer: Customer) -> str:
    """The id of a reservation of 40 of 100 units, for a minute."""
    customer.buys(100)
    return str(reserve(client, customer, 40).get_json()["reservation_id"])


def close(client: FlaskClient, customer: Customer, reservation_id: str, how: str, units: Any = None) -> Any:
    body = {} if units is None else {"units": units}
    return post(client, customer, f"/v1/usage/reservations/{reservation_id}/{how}", body)


def counters(database: Database) -> list[tuple[int, int]]:
    with database.read() as db:
        rows = db.exec(select(Entitlement).order_by(Entitlement.id))
        return [(row.used_units, row.reserved_units) for row in rows]


def test_reserved_units_are_nobody_elses(client: FlaskClient, customer: Customer) -> None:
    customer.buys(100)
    answer = reserve(client, customer, 40, ttl_seconds=60)
    body = answer.get_json()
    assert answer.status_code == 201
    assert body.pop("reservation_id").startswith("rsv_")
    assert body == {"reserved": 40, "usage_remaining": 60, "expires_at": "2026-11-23T09:31:00Z"}
    refused = consume(client, customer, 61)
    assert (refused.status_code, refused.get_json()["usage_remaining"]) == (409, 60)
    assert reserve(client, customer, 61).status_code == 409
    assert consume(client, customer, 60).get_json()["usage_remaining"] == 0


def test_a_reservation_spans_packs_and_is_committed_in_their_order(
    client: FlaskClient, database: Database, customer: Customer
) -> None:
    later = customer.buys(10)
    sooner = customer.buys(10, ends_at=START + DAY)
    made = reserve(client, customer, 15).get_json()["reservation_id"]
    answer = close(client, customer, made, "commit", 12)
    assert (answer.status_code, answer.get_json()) == (
        200,
        {"ok": True, "consumed": 12, "released": 3, "usage_remaining": 8},
    )
    with database.read() as db:
        rows = db.exec(select(LedgerRow)).all()
        left = {row.id: (row.used_units, row.reserved_units) for row in db.exec(select(Entitlement))}
    assert {row.entitlement_id: row.units for row in rows} == {sooner: 10, later: 2}
    assert {row.reservation_id for row in rows} == {made}
    assert {row.request_id for row in rows} == {answer.headers["Licenzy-Request-Id"]}
    assert left == {sooner: (10, 0), later: (2, 0)}


def test_what_the_first_pack_covers_leaves_the_second_alone(
    client: FlaskClient, database: Database, customer: Customer
) -> None:
    customer.buys(10, ends_at=START + DAY)
    later = customer.buys(10)
    made = reserve(client, customer, 15).get_json()["reservation_id"]
    assert close(client, customer, made, "commit", 10).get_json()["released"] == 5
    with database.read() as db:
        assert later not in [row.entitlement_id for row in db.exec(select(LedgerRow))]
    assert counters(database) in ([(10, 0), (0, 0)], [(0, 0), (10, 0)])


def test_released_units_can_be_reserved_again(
    client: FlaskClient, database: Database, customer: Customer, reserved: str
) -> None:
    answer = close(client, customer, reserved, "release")
    assert (answer.status_code, answer.get_json()) == (
        200,
        {"ok": True, "released": 40, "usage_remaining": 100},
    )
    assert counters(database) == [(0, 0)]
    assert reserve(client, customer, 100).get_json()["usage_remaining"] == 0


def test_release_takes_no_body_at_all(client: FlaskClient, customer: Customer, reserved: str) -> None:
    address = f"/v1/usage/reservations/{reserved}/release"
    assert client.post(address, headers=customer.headers).get_json()["released"] == 40
    assert post(client, customer, address, {"units": 1}).get_json()["error"] == "unknown_field"


@pytest.mark.parametrize(("how", "units"), [("commit", 25), ("release", None)])
def test_a_repeat_is_given_the_first_answer(
    client: FlaskClient, database: Database, customer: Customer, reserved: str, how: str, units: int | None
) -> None:
    first = close(client, customer, reserved, how, units)
    before = counters(database)
    assert consume(client, customer, 5).status_code == 200
    again = close(client, customer, reserved, how, units)
    assert (again.status_code, again.data) == (first.status_code, first.data)
    assert counters(database) == [(before[0][0] + 5, 0)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("commit", 25), ("commit", 24)),
        (("commit", 25), ("release", None)),
        (("release", None), ("commit", 25)),
        (("expire", None), ("commit", 25)),
        (("expire", None), ("release", None)),
    ],
    ids=str,
)
def test_a_closed_reservation_stays_as_it_was_closed(
    client: FlaskClient,
    database: Database,
    customer: Customer,
    reserved: str,
    clock: StandingClock,
    first: Any,
    second: Any,
) -> None:
    if first[0] == "expire":
        clock.advance(seconds=60)
    else:
        assert close(client, customer, reserved, *first).status_code == 200
    before = counters(database)
    for _ in range(2):
        answer = close(client, customer, reserved, *second)
        assert (answer.status_code, answer.get_json()["error"]) == (409, "reservation_closed")
        assert "other units" not in answer.get_json()["message"]
    assert [used for used, _ in counters(database)] == [used for used, _ in before]


def test_no_more_than_was_reserved(
    client: FlaskClient, database: Database, customer: Customer, reserved: str
) -> None:
    answer = close(client, customer, reserved, "commit", 41)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_request")
    assert answer.get_json()["fields"] == {"units": "must be at most the 40 that were reserved"}
    assert counters(database) == [(0, 40)]
    assert close(client, customer, reserved, "commit", 40).get_json()["consumed"] == 40


@pytest.mark.parametrize("how", ["commit", "release"])
def test_reservations_of_others_and_bad_ids_are_not_found(
    client: FlaskClient, database: Database, cast: Cast, customer: Customer, reserved: str, how: str
) -> None:
    units = 1 if how == "commit" else None
    strangers = [
        customer_with(database, cast, mode=Mode.LIVE),
        customer_with(database, cast, project_id=cast.stranger.project_id),
    ]
    asked = [(each, reserved) for each in strangers]
    asked += [(customer, wrong) for wrong in (new_id("rsv"), "rsv_x", reserved.upper(), "%00", "ent_1")]
    for who, reservation_id in asked:
        answer = close(client, who, reservation_id, how, units)
        assert (answer.status_code, answer.get_json()["error"]) == (404, "reservation_not_found")
    assert counters(database) == [(0, 40)]


def test_it_ends_exactly_at_its_end(
    client: FlaskClient, customer: Customer, reserved: str, clock: StandingClock
) -> None:
    clock.now = START + timedelta(seconds=60) - timedelta(microseconds=1)
    assert consume(client, customer, 61).status_code == 409
    clock.now = START + timedelta(seconds=60)
    assert consume(client, customer, 61).get_json()["usage_remaining"] == 39


def test_units_of_an_expired_reservation_are_free_before_the_worker_comes(
    client: FlaskClient, customer: Customer, clock: StandingClock
) -> None:
    customer.buys(100)
    assert reserve(client, customer, 100).status_code == 201
    headers = customer.headers
    for after, free in ((59, False), (60, True)):
        clock.now = START + timedelta(seconds=after)
        check = client.post("/v1/access/check", json={"subject_ref": "user_123"}, headers=headers)
        batch = client.post("/v1/access/check-batch", json={"subject_refs": ["user_123"]}, headers=headers)
        held = client.get("/v1/customer/access/user_123", headers=headers).get_json()
        listed = client.get("/v1/entitlements/user_123", headers=headers).get_json()
        explained = client.post(
            "/v1/access/check?explain=true", json={"subject_ref": "user_123"}, headers=headers
        )
        assert check.get_json()["allowed"] is free
        assert batch.get_json()["results"] == [{"subject_ref": "user_123", "allowed": free}]
        assert held["has_access"] is free
        assert held["entitlements"][0]["usage_remaining"] == (100 if free else 0)
        assert listed["entitlements"][0]["usage_remaining"] == (100 if free else 0)
        assert explained.get_json()["allowed"] is free
    assert reserve(client, customer, 100).status_code == 201


def test_the_worker_closes_what_is_over(
    app: Flask, client: FlaskClient, database: Database, customer: Customer, clock: StandingClock
) -> None:
    customer.buys(100)
    parts = app.extensions["licenzy"]
    for ttl in (10, 20, 3600):
        assert reserve(client, customer, 10, ttl_seconds=ttl).status_code == 201
    assert counters(database) == [(0, 30)]
    clock.advance(seconds=15)
    work_once(parts)
    assert counters(database) == [(0, 20)]
    clock.advance(seconds=15)
    work_once(parts)
    assert counters(database) == [(0, 10)]
    with database.read() as db:
        closed = db.exec(select(Reservation.closed_as).order_by(col(Reservation.expires_at))).all()
    assert closed == [Closing.EXPIRED, Closing.EXPIRED, None]


def test_the_worker_reads_the_clock_of_a_sandbox_account(
    app: Flask, client: FlaskClient, database: Database, customer: Customer
) -> None:
    customer.buys(100)
    customer.connects(clock_offset_seconds=0)
    reserve(client, customer, 10, ttl_seconds=60)
    customer.moves_clock_to(59)
    work_once(app.extensions["licenzy"])
    assert counters(database) == [(0, 10)]
    customer.moves_clock_to(60)
    work_once(app.extensions["licenzy"])
    assert counters(database) == [(0, 0)]


@pytest.mark.parametrize(
    "expected",
    [
        {"ends_at": START + timedelta(seconds=30)},
        {"state": State.CANCELED, "voided_at": START, "reason": "refunded"},
        {"state": State.SUSPENDED, "reason": "disputed"},
    ],
    ids=["expired", "refunded", "disputed"],
)
def test_what_was_promised_is_kept_when_its_pack_ends(
    client: FlaskClient,
    database: Database,
    customer: Customer,
    reserved: str,
    clock: StandingClock,
    expected: dict[str, Any],
) -> None:
    """Work that was begun on a reservation may be charged to it; nothing new begins on that pack."""
    with database.write() as db:
        pack = db.exec(select(Entitlement)).one()
        for name, value in expected.items():
            setattr(pack, name, value)
    clock.advance(seconds=45)
    assert consume(client, customer, 1).status_code == 409
    answer = close(client, customer, reserved, "commit", 30)
    assert answer.get_json() == {"ok": True, "consumed": 30, "released": 10, "usage_remaining": 0}
    assert counters(database) == [(30, 0)]


def test_the_key_of_a_reserve_is_replayed_and_refused_as_others_are(
    client: FlaskClient, database: Database, customer: Customer, clock: StandingClock
) -> None:
    customer.buys(50)
    first = reserve(client, customer, 40, key="once")
    refused = reserve(client, customer, 40, key="short")
    assert refused.get_json()["error"] == "insufficient_usage"
    customer.buys(1000)
    clock.advance(days=400)
    for key, earlier in (("once", first), ("short", refused)):
        again = reserve(client, customer, 40, key=key)
        assert (again.status_code, again.data) == (earlier.status_code, earlier.data)
        assert again.headers["Idempotent-Replayed"] == "true"
    assert reserve(client, customer, 41, key="once").get_json()["error"] == "idempotency_key_reused"
    assert consume(client, customer, 40, key="once").status_code == 200, "the endpoint is part of the key"


@pytest.mark.parametrize("ttl", [0, -1, 1.0, "60", True, None, 86_401, 2**63], ids=str)
def test_bad_times_are_refused(client: FlaskClient, customer: Customer, ttl: Any) -> None:
    answer = reserve(client, customer, 1, ttl_seconds=ttl)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_request")
    assert answer.get_json()["fields"] == {"ttl_seconds": "must be a whole number from 1 to 86400"}


def test_the_longest_time(client: FlaskClient, customer: Customer) -> None:
    customer.buys(1)
    answer = reserve(client, customer, 1, ttl_seconds=86_400)
    assert answer.get_json()["expires_at"] == "2026-11-24T09:30:00Z"


def test_commits_and_consumes_at_once_add_up(
    app: Flask, database: Database, customer: Customer, clock: StandingClock
) -> None:
    """Threads reserve, commit, release and consume on three packs of one subject; no unit is lost.

    They have a minute each, and not five seconds: on a machine that is busy with other things the sixth in
    turn may be told that the database is not to be had, which is right and leaves what is set aside.
    """
    for _ in range(3):
        customer.buys(100)
    statuses: list[int] = []
    line = threading.Barrier(6)

    def work(number: int) -> None:
        client = app.test_client()
        line.wait(20)
        with deadline.within(60):
            for turn in range(8):
                made = reserve(client, customer, 7, ttl_seconds=1000)
                taken = consume(client, customer, 5)
                statuses.extend([made.status_code, taken.status_code])
                if made.status_code == 201:
                    how = ("commit", 3) if (number + turn) % 2 else ("release",)
                    closed = close(client, customer, made.get_json()["reservation_id"], *how)
                    statuses.append(closed.status_code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 201, 409}
    with database.read() as db:
        packs = db.exec(select(Entitlement)).all()
        ledger = db.exec(select(LedgerRow)).all()
    assert [pack.reserved_units for pack in packs] == [0, 0, 0]
    for pack in packs:
        assert pack.used_units == sum(row.units for row in ledger if row.entitlement_id == pack.id)
