"""Many calls at the same time: one key has one effect, and a pack is never oversold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlmodel import func, select

from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement
from licenzy.idempotency.models import IdempotencyKey
from licenzy.settings import Settings
from licenzy.usage.models import LedgerRow
from tests.conftest import make_settings
from tests.support.cast import Cast
from tests.usage.buying import Customer, consume, customer_with, reserve


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """One key stands for many callers here; the limiter runs, it only never says no."""
    return make_settings(tmp_path, database_url, rate_limit=1_000_000)


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    return customer_with(database, cast)


def at_once(app: Flask, callers: int, rounds: int, call: Callable[[Any, int, int], Any]) -> list[list[Any]]:
    """The answers of each round, in which all callers call together."""
    line = threading.Barrier(callers)
    answers: list[list[Any]] = [[] for _ in range(rounds)]

    def work(number: int) -> None:
        client = app.test_client()
        for turn in range(rounds):
            line.wait(120)
            answers[turn].append(call(client, number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def used(database: Database) -> int:
    with database.read() as db:
        packs = db.exec(select(Entitlement)).all()
        noted = db.exec(select(func.sum(LedgerRow.units))).one()
    assert all(pack.granted_units >= pack.used_units + pack.reserved_units for pack in packs)
    assert int(noted or 0) == sum(pack.used_units for pack in packs)
    return int(noted or 0)


def assert_one_effect_each(
    app: Flask, database: Database, customer: Customer, callers: int, rounds: int
) -> None:
    for _ in range(3):
        customer.buys(rounds)
    answers = at_once(
        app, callers, rounds, lambda client, _number, turn: consume(client, customer, 3, key=f"key {turn}")
    )
    for turn in answers:
        assert len({(each.status_code, each.data) for each in turn}) == 1
        assert [each.status_code for each in turn] == [200] * callers
        assert sum("Idempotent-Replayed" in each.headers for each in turn) == callers - 1
    assert used(database) == 3 * rounds
    with database.read() as db:
        assert db.exec(select(func.count()).select_from(IdempotencyKey)).one() == rounds


def test_parallel_calls_with_one_key_have_one_effect(
    app: Flask, database: Database, customer: Customer
) -> None:
    assert_one_effect_each(app, database, customer, callers=12, rounds=10)


@pytest.mark.slow
def test_50_parallel_calls_with_one_key_200_rounds(
    app: Flask, database: Database, customer: Customer
) -> None:
    assert_one_effect_each(app, database, customer, callers=50, rounds=200)


def test_one_key_with_two_bodies_at_once_is_one_of_them(
    app: Flask, database: Database, customer: Customer
) -> None:
    rounds = 10
    customer.buys(1000)
    answers = at_once(
        app, 8, rounds, lambda client, number, turn: consume(client, customer, 1 + number % 2, key=f"k{turn}")
    )
    for turn in answers:
        assert sorted({each.status_code for each in turn}) == [200, 409]
        assert len({each.data for each in turn if each.status_code == 200}) == 1
        refusals = {each.get_json()["error"] for each in turn if each.status_code == 409}
        assert refusals == {"idempotency_key_reused"}
    assert rounds <= used(database) <= 2 * rounds


def test_the_last_units_are_sold_once(app: Flask, database: Database, customer: Customer) -> None:
    """Eight callers want 8 × 10 × 3 units of three packs that hold 100, and set some aside meanwhile."""
    for units in (33, 33, 34):
        customer.buys(units)
    answers = at_once(
        app,
        8,
        10,
        lambda client, number, turn: (
            reserve(client, customer, 2) if (number + turn) % 4 == 0 else consume(client, customer, 3)
        ),
    )
    statuses = [each.status_code for turn in answers for each in turn]
    assert set(statuses) == {200, 201, 409}
    assert used(database) == 3 * statuses.count(200)
    with database.read() as db:
        held = db.exec(select(func.sum(Entitlement.reserved_units))).one()
    assert int(held) == 2 * statuses.count(201)
    assert used(database) + int(held) >= 98


def test_parallel_reserves_with_one_key_set_aside_once(
    app: Flask, database: Database, customer: Customer
) -> None:
    customer.buys(100)
    answers = at_once(
        app, 10, 5, lambda client, _number, turn: reserve(client, customer, 7, key=f"key {turn}")
    )
    for turn in answers:
        assert len({(each.status_code, each.data) for each in turn}) == 1
    with database.read() as db:
        assert db.exec(select(Entitlement.reserved_units)).one() == 35
