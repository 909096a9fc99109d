"""Transactions that lock rows of several tables do so in one order."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from licenzy.db.lock_order import LOCK_ORDER
from licenzy.db.tables import Table
from licenzy.db.unit_of_work import Database
from licenzy.factory import load_models
from tests.support.cast import Cast
from tests.support.clock import StandingClock
from tests.usage.buying import consume, customer_with, post, reserve


def test_the_order_names_tables() -> None:
    load_models()
    assert set(LOCK_ORDER) <= set(Table.metadata.tables)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_calls_lock_in_that_order(app: Flask, database: Database, cast: Cast, clock: StandingClock) -> None:
    """What reserving, committing, releasing and consuming lock, in every transaction of theirs."""
    transactions: list[list[str]] = [[]]

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "FOR UPDATE" in statement:
            (table,) = re.findall(r"FROM (\w+)", statement)[:1]
            transactions[-1].append(table)

    event.listen(database.engine, "before_cursor_execute", note)
    event.listen(database.engine, "commit", lambda _connection: transactions.append([]))
    client, customer = app.test_client(), customer_with(database, cast)
    for _ in range(2):
        customer.buys(100)
    for how in (("commit", {"units": 3}), ("release", {})):
        made = reserve(client, customer, 120, ttl_seconds=30).get_json()["reservation_id"]
        post(client, customer, f"/v1/usage/reservations/{made}/{how[0]}", how[1])
    reserve(client, customer, 5, ttl_seconds=30)
    clock.advance(seconds=31)
    assert consume(client, customer, 1).status_code == 200
    locked = [each for each in transactions if each]
    assert len(locked) >= 5
    for tables in locked:
        places = [LOCK_ORDER.index(table) for table in tables if table != "idempotency_keys"]
        assert places == sorted(places), tables
