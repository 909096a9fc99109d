"""The hottest calls on an event loop: the answers of their routes, from one read or one commit, in time."""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api.on_the_loop import CHECK, CONSUME
from licenzy.api_keys.rules import presented_hash
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import OVERRIDE, Entitlement, State
from licenzy.hotpath import postgres_snapshots
from licenzy.hotpath.postgres_snapshots import PostgresSnapshots
from licenzy.hotpath.snapshot import SnapshotReader
from licenzy.projects.scope import Scope
from licenzy.usage.access import Wanted, access_of, answer
from tests.support.cast import Cast, make_product
from tests.support.clock import START, StandingClock
from tests.support.hotpath import Incoming, called, on_a_loop
from tests.usage.buying import Customer, consume, customer_with, reserve

only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    return customer_with(database, cast)


def check(customer: Customer, body: Any = None, **more: Any) -> Incoming:
    sent = body if isinstance(body, bytes) else json.dumps(body or {"subject_ref": "user_123"}).encode()
    return Incoming(customer.token, CHECK, sent, **more)


def consuming(customer: Customer, units: Any, key: str | None, **more: Any) -> Incoming:
    body = json.dumps({"subject_ref": "user_123", "units": units}).encode()
    headers = {"idempotency-key": key} if key is not None else {}
    return Incoming(customer.token, CONSUME, body, headers={**headers, **more.pop("headers", {})}, **more)


BAD: list[dict[str, Any]] = [
    {"body": b"{"},
    {"body": {"subject_ref": ""}},
    {"body": {"subject_ref": "u", "colour": 1}},
    {"body": {"subject_ref": "u", "mode": "live"}},
    {"headers": {"content-type": "text/plain"}},
    {"headers": {"authorization": "Bearer nothing"}},
    {"headers": {"authorization": "Bearer sk_test_123"}},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_refusals_are_those_of_the_route(
    app: Flask, client: FlaskClient, customer: Customer, bad: dict[str, Any]
) -> None:
    (told,) = called(app, request := check(customer, **bad))
    assert told is not None
    headers = {"Authorization": f"Bearer {customer.token}", "Content-Type": "application/json"}
    headers |= {name.title(): value for name, value in request.headers.items() if value is not None}
    expected = client.post(CHECK, data=request.body, headers=headers)
    assert told.status == expected.status_code

    def without_number(body: bytes) -> dict[str, Any]:
        return {name: value for name, value in json.loads(body).items() if name != "request_id"}

    assert without_number(told.body) == without_number(expected.data)
    # Those about security are the front's.
    ours = {"Content-Type", "Content-Length", "Cache-Control", "WWW-Authenticate", "Licenzy-Mode"}
    given = {name: value for name, value in told.headers if name in ours - {"Content-Length"}}
    assert given == {name: value for name, value in expected.headers.items() if name in given}
    assert ours & set(expected.headers.keys()) == ours & {name for name, _ in told.headers}


@pytest.mark.parametrize("dead", [{"revoked_at": START}, {"expires_at": START}])
def test_a_dead_key_opens_nothing_from_the_next_call_on(
    app: Flask, customer: Customer, dead: dict[str, Any]
) -> None:
    customer.buys(10)
    assert [told.status for told in called(app, check(customer), consuming(customer, 1, "a")) if told] == [
        200,
        200,
    ]
    customer.loses_key(**dead)
    refused = called(app, check(customer), consuming(customer, 1, "b"), check(customer, b"{"))
    assert [told.status for told in refused if told] == [401, 401, 401]
    assert all(dict(told.headers)["Licenzy-Mode"] == "test" for told in refused if told)


def test_what_takes_more_is_left_to_a_thread(
    app: Flask, client: FlaskClient, database: Database, customer: Customer, clock: StandingClock
) -> None:
    customer.buys(10)
    assert called(app, check(customer, query="explain=true")) == [None]
    assert called(app, check(customer, {"subject_ref": "u", "product_code": "price_1"})) == [None]
    assert reserve(client, customer, 10, ttl_seconds=60).status_code == 201
    assert called(app, check(customer)) == [None], "reservations may be over"
    clock.advance(seconds=61)
    assert called(app, consuming(customer, 1, "k")) == [None]
    assert consume(client, customer, 1, key="k").get_json()["usage_remaining"] == 9
    replayed = called(app, consuming(customer, 1, "k"))[0]
    assert replayed is not None
    assert json.loads(replayed.body)["usage_remaining"] == 9
    assert dict(replayed.headers)["Idempotent-Replayed"] == "true"


def test_many_calls_at_once_are_exact(app: Flask, database: Database, customer: Customer) -> None:
    for units in (30, 30, 40):
        customer.buys(units)
    calls = [consuming(customer, 3, f"key {number % 50}") for number in range(100)]
    answers = [told for told in called(app, *calls) if told is not None]
    assert len(answers) == 100
    by_key: dict[str | None, set[bytes]] = {}
    for call, told in zip(calls, answers, strict=True):
        by_key.setdefault(call.headers["idempotency-key"], set()).add(told.body)
    assert {len(bodies) for bodies in by_key.values()} == {1}
    with database.read() as db:
        used = sum(pack.used_units for pack in db.exec(select(Entitlement)))
    assert used == 3 * sum(b'"ok":true' in next(iter(bodies)) for bodies in by_key.values()) == 99


@only_postgres
def test_checks_that_wait_go_together(
    app: Flask, database: Database, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer.buys(10)
    batches: list[int] = []
    real = PostgresSnapshots._rows

    async def rows(reader: PostgresSnapshots, batch: Any) -> Any:
        batches.append(len(batch))
        return await real(reader, batch)

    monkeypatch.setattr(PostgresSnapshots, "_rows", rows)
    assert {told.status for told in called(app, *[check(customer)] * 200) if told} == {200}
    assert sum(batches) == 200
    assert max(batches) <= postgres_snapshots.MOST_TOGETHER
    assert len(batches) <= 5


def holding(chance: random.Random, customer: Customer) -> None:
    """Something random that the subject holds."""
    kind = chance.choice(list(Kind))
    units = chance.choice([0, 5]) if kind is Kind.USAGE_PACK else 0
    customer.buys(
        units,
        kind=kind,
        state=chance.choice(list(State)),
        starts_at=START + timedelta(hours=chance.choice([-9, 0, 1])),
        ends_at=chance.choice([None, *(START + timedelta(hours=n) for n in (-1, 0, 1, 2))]),
        voided_at=chance.choice([None, None, START]),
        used_units=chance.choice([0, units]),
        features=chance.choice([[], ["a"], ["a", "b"]]),
        limits=chance.choice([{}, {"projects": 4}, {"projects": 8, "seats": None}, {"projects": None}]),
        adds=chance.choice([False, False, True]),
        quantity=chance.choice([1, 1, 3]),
        source=chance.choice(["stripe", "stripe", "portal", OVERRIDE]),
        product_code=chance.choice(["PRO", "MAX"]),
    )


def test_snapshots_answer_what_access_of_answers(database: Database, cast: Cast) -> None:
    chance = random.Random(5)
    customers = [customer_with(database, cast, ref=f"user_{number}") for number in range(20)]
    for each in customers:
        for _ in range(chance.randint(0, 4)):
            holding(chance, each)
    with database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            kind=Kind.FREE,
            product_code="FREE",
            is_default=True,
            features=["b"],
            limits={"projects": 1},
        )
    wishes = [Wanted(code, feature) for code in (None, "PRO") for feature in (None, "b")]
    wishes += [Wanted(code, None, "projects", value) for code in (None, "PRO") for value in (0, 1, 4, 9)]

    async def run(reader: SnapshotReader) -> list[Any]:
        ends_at = time.monotonic() + 5
        return await asyncio.gather(
            *(
                reader.read(presented_hash(each.token), each.subject.subject_ref, ends_at=ends_at)
                for each in customers
            )
        )

    micros = int(START.timestamp() * 1_000_000)
    for each, snapshot in zip(customers, on_a_loop(database, run), strict=True):
        assert snapshot.key.id == each.key.id
        ref = each.subject.subject_ref
        for wanted in wishes:
            with database.read() as db:
                expected = access_of(
                    db,
                    Scope(cast.project_id, Mode.TEST),
                    subject_refs=[ref],
                    now=START,
                    asked_at=START,
                    wanted=wanted,
                )[ref]
            found = answer(snapshot.owned, wanted, micros, default=snapshot.default)
            assert (found.allowed, found.reason) == (expected.allowed, expected.reason)
            assert (found.limit, found.decided_by_default) == (expected.limit, expected.decided_by_default)


def test_a_committed_write_shows_in_the_next_answer(app: Flask, customer: Customer) -> None:
    def allowed() -> Any:
        (told,) = called(app, check(customer))
        assert told is not None
        return json.loads(told.body)["allowed"]

    assert allowed() is False
    customer.buys(1)
    assert allowed() is True


@only_sqlite
def test_a_locked_file_is_left_to_a_thread(app: Flask, database: Database, customer: Customer) -> None:
    import sqlite3

    assert database.file is not None
    called(app, check(customer))
    # What is written beside the call comes to its end, and nobody else has the file open.
    app.extensions["licenzy"].database.close()
    database.engine.dispose()
    with sqlite3.connect(database.file.path, isolation_level=None) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        assert called(app, check(customer)) == [None]
        other.execute("ROLLBACK")
    other.close()
