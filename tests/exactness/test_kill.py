"""`kill -9` at every statement of consuming, reserving and committing: all of a call or nothing of it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from sqlmodel import col, func, select

from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement
from licenzy.hotpath.postgres_batches import PostgresBatches
from licenzy.hotpath.sqlite_batches import SqliteBatches
from licenzy.idempotency.models import IdempotencyKey
from licenzy.usage.models import Hold, LedgerRow
from tests.support.cast import Cast
from tests.support.patches import replace
from tests.usage.buying import Customer, consume, customer_with, post, reserve


class Points:
    """Counts the statements of this process and kills it at one of them."""

    def __init__(self, kill_at: int) -> None:
        self._left = kill_at

    def pass_by(self, *_event: Any) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def listen(self, database: Database) -> None:
        """Attach to everything that speaks to the database, whichever way it does."""
        for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(database.engine, name, self.pass_by)
        opened, ran = SqliteBatches._open, PostgresBatches._run

        def open_watched(batches: SqliteBatches[Any, Any]) -> Any:
            connection = opened(batches)
            connection.set_trace_callback(self.pass_by)
            return connection

        def run_watched(batches: PostgresBatches, connection: Any, *statement: Any) -> Any:
            self.pass_by()
            cursor = ran(batches, connection, *statement)
            self.pass_by()
            return cursor

        transact = PostgresBatches._transact

        def transact_watched(batches: PostgresBatches, *args: Any) -> None:
            transact(batches, *args)
            self.pass_by()

        replace(SqliteBatches, _open=open_watched)
        replace(PostgresBatches, _run=run_watched, _transact=transact_watched)


@dataclass(frozen=True)
class Rows:
    """What a subject's rows add up to."""

    used: int
    noted: int
    reserved: int
    reserved_by_holds: int
    stored: int

    @property
    def is_whole(self) -> bool:
        return self.used == self.noted and self.reserved == self.reserved_by_holds


def rows_of(database: Database, customer: Customer, key: str) -> Rows:
    with database.read() as db:
        packs = db.exec(select(Entitlement).where(Entitlement.subject_id == customer.subject.id)).all()
        ids = [pack.id for pack in packs]
        noted = db.exec(select(func.sum(LedgerRow.units)).where(col(LedgerRow.entitlement_id).in_(ids))).one()
        reserved = db.exec(select(func.sum(Hold.units)).where(col(Hold.entitlement_id).in_(ids))).one()
        stored = db.exec(
            select(func.count()).select_from(IdempotencyKey).where(IdempotencyKey.key == key)
        ).one()
    return Rows(
        sum(pack.used_units for pack in packs),
        int(noted or 0),
        sum(pack.reserved_units for pack in packs),
        int(reserved or 0),
        stored,
    )


def dies(app: Flask, database: Database, kill_at: int, call: Callable[[], Any]) -> bool:
    """Whether a process that makes the call was killed at that point of it; False when it has fewer."""
    database.engine.dispose()  # No connection is carried over the fork.
    child = os.fork()
    if not child:
        try:
            logging.disable(logging.CRITICAL)
            points = Points(kill_at)
            points.listen(database)
            call()
            points.pass_by()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.fixture(autouse=True)
def _no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a key was last used is written by a thread of its own, which a fork must not meet."""
    monkeypatch.setattr("licenzy.api.last_used.LastUsed.note", lambda *_: None)


@pytest.fixture
def buy(database: Database, cast: Cast) -> Callable[[int], Customer]:
    def make(number: int) -> Customer:
        customer = customer_with(database, cast, ref=f"user_{number}")
        for units in (10, 10):
            customer.buys(units)
        return customer

    return make


def test_consuming_is_all_or_nothing(app: Flask, database: Database, buy: Callable[[int], Customer]) -> None:
    client, seen = app.test_client(), list[int]()
    for point in range(1, 60):
        customer, key = buy(point), f"key {point}"
        if not dies(app, database, point, partial(consume, client, customer, 15, key=key)):
            break
        left = rows_of(database, customer, key)
        assert left.is_whole
        assert left.used == 15 * left.stored, "the key and its effect are one"
        answer = consume(client, customer, 15, key=key)
        assert answer.get_json() == {"ok": True, "consumed": 15, "usage_remaining": 5}
        assert ("Idempotent-Replayed" in answer.headers) == bool(left.stored)
        assert rows_of(database, customer, key).used == 15
        seen.append(left.stored)
    assert seen.count(0) >= 5, "not many points for so many statements"
    assert seen.count(1) >= 1, "it also died between the commit and the answer"


def test_reserving_is_all_or_nothing(app: Flask, database: Database, buy: Callable[[int], Customer]) -> None:
    client, seen = app.test_client(), list[int]()
    for point in range(1, 100):
        customer, key = buy(point), f"key {point}"
        if not dies(app, database, point, partial(reserve, client, customer, 15, key=key)):
            break
        left = rows_of(database, customer, key)
        assert left.is_whole
        assert left.reserved == 15 * left.stored
        assert reserve(client, customer, 15, key=key).get_json()["usage_remaining"] == 5
        assert rows_of(database, customer, key).reserved == 15
        seen.append(left.stored)
    assert seen.count(0) >= 10
    assert seen.count(1) >= 1


def test_committing_is_all_or_nothing(app: Flask, database: Database, buy: Callable[[int], Customer]) -> None:
    client, seen = app.test_client(), list[int]()
    for point in range(1, 100):
        customer = buy(point)
        made = reserve(client, customer, 15).get_json()["reservation_id"]
        address = f"/v1/usage/reservations/{made}/commit"
        if not dies(app, database, point, partial(post, client, customer, address, {"units": 12})):
            break
        left = rows_of(database, customer, "")
        assert left.used == left.noted
        assert (left.used, left.reserved) in {(0, 15), (12, 0)}
        expected = {"ok": True, "consumed": 12, "released": 3, "usage_remaining": 8}
        assert post(client, customer, address, {"units": 12}).get_json() == expected
        again = rows_of(database, customer, "")
        assert (again.used, again.noted, again.reserved) == (12, 12, 0)
        seen.append(left.used)
    assert seen.count(0) >= 10
    assert seen.count(12) >= 1
