"""Connections end with the threads that opened them, however many threads come and go."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import make_url, text

from licenzy.factory import create_app
from licenzy.settings import Settings
from tests.conftest import make_settings
from tests.support.databases import PostgresServer, SqliteFiles
from tests.support.threads import join
from tests.trouble.clients import ROUTE_CLIENTS, Connection, Request, RouteClient, answer_in_process, ask
from tests.trouble.installation import (
    CONSUMER,
    METRICS_TOKEN,
    WORKERS,
    Installation,
    Web,
    install,
    open_database_files,
    running,
)

PARALLEL = 8
BURSTS, CLIENTS, GAP_SECONDS = 5, 16, 35
"""The gap is longer than the thirty seconds after which Granian ends a thread that has nothing to do."""
_THREADS = 12
"""More than call at once, so that none of them is the last free one, which is given less time."""
_ROUNDS = 2
_SETTLE_SECONDS = 5.0
_BY_CHANCE = 3
"""How many more connections a pool may have come to keep, since not all callers met in the first burst."""


class Entitlements(RouteClient):
    name = "entitlements"

    def next(self) -> Request:
        sent = {"Authorization": f"Bearer {self.installation.token}"}
        return Request("GET", f"/v1/entitlements/{CONSUMER}", headers=sent)


class Metrics(RouteClient):
    name, pages = "metrics", True

    def next(self) -> Request:
        return Request("GET", "/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})


ALL_ROUTE_CLIENTS: tuple[type[RouteClient], ...] = (*ROUTE_CLIENTS, Entitlements, Metrics)


@dataclass(frozen=True)
class Place:
    """An installation, and how many connections there are to its database."""

    installation: Installation
    postgres: psycopg.Connection[Any] | None

    @property
    def database(self) -> str:
        name = make_url(self.installation.settings.database_url).database
        assert name is not None
        return name

    def connections(self, pids: list[int]) -> int:
        """Of these processes; on Postgres nobody else has any."""
        if self.postgres is None:
            return open_database_files(pids, Path(self.database))
        row = self.postgres.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [self.database]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def leak(self) -> Any:
        """One more connection, as a thread that ends without closing its own leaves it behind."""
        if self.postgres is None:
            kept = sqlite3.connect(self.database, check_same_thread=False)
            kept.execute("SELECT 1 FROM subjects").fetchone()
            return kept
        return psycopg.connect(self.installation.settings.database_url)


@pytest.fixture
def on_sqlite(sqlite_files: SqliteFiles, tmp_path: Path) -> Place:
    folder = tmp_path / "on-sqlite"
    folder.mkdir()
    return Place(install(_settings(folder, sqlite_files.fresh(folder))), None)


@pytest.fixture
def on_postgres(postgres: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    """On a database that is not lent: connections to one of those are put by when they are closed."""
    folder = tmp_path / "on-postgres"
    folder.mkdir()
    name = postgres.fresh()
    with closing(psycopg.connect(postgres.url("postgres"), autocommit=True)) as other:
        yield Place(install(_settings(folder, postgres.url(name))), other)
    postgres.drop(name)


def _settings(folder: Path, url: str) -> Settings:
    return make_settings(folder, url, metrics_token=METRICS_TOKEN, threads=_THREADS)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("place", "threads"),
    [
        ("on_sqlite", 200),
        pytest.param("on_postgres", 60, marks=pytest.mark.postgres),
        pytest.param("on_postgres", 400, marks=[pytest.mark.postgres, pytest.mark.soak]),
    ],
    indirect=["place"],
)
def test_threads_that_end_leave_nothing_open(place: Place, threads: int) -> None:
    """On Postgres fewer in everyday runs: the server's hundred connections are for all tests."""
    first = threads // 5
    assert _growth(place, first=first, later=threads - first) <= 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["on_sqlite", pytest.param("on_postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_planted_leak_is_found(place: Place) -> None:
    # SQLite gives a new connection a file that the system has still open for one that has ended.
    assert _growth(place, first=PARALLEL, later=2 * PARALLEL, leaks=True) >= PARALLEL


def _growth(place: Place, *, first: int, later: int, leaks: bool = False) -> int:
    """How many more connections there are after some threads than there were after the first ones."""
    app = create_app(place.installation.settings)
    database = app.extensions["licenzy"].database
    kept: list[Any] = []
    try:
        with ExitStack() as pool:  # As many as it keeps, so that it cannot grow later.
            for _ in range(_THREADS + 2):
                pool.enter_context(database.read()).execute(text("SELECT 1"))
        _call_every_route(app, place, range(first))
        before = _settled(place)
        leave = (lambda: kept.append(place.leak())) if leaks else (lambda: None)
        _call_every_route(app, place, range(first, first + later), then=leave)
        after = _settled(place, at_most=before)
    finally:
        database.close()
        for each in kept:
            each.close()
    print(f"{before} connections after {first} threads, {after} after {first + later}")
    return after - before


def _call_every_route(
    app: Flask, place: Place, callers: range, then: Callable[[], None] = lambda: None
) -> None:
    """From as many threads, each of which ends after one call to each route."""
    wrong: list[str] = []

    def call(number: int) -> None:
        for client in (kind(place.installation, first=number) for kind in ALL_ROUTE_CLIENTS):
            answer = answer_in_process(app, client.next())
            if answer.status not in client.well:
                wrong.append(f"{client.name}: {answer.status} {answer.body[:200]}")
        then()

    for begin in range(callers.start, callers.stop, PARALLEL):
        numbers = range(begin, min(begin + PARALLEL, callers.stop))
        threads = [threading.Thread(target=call, args=(number,)) for number in numbers]
        for thread in threads:
            thread.start()
        join(*threads, seconds=60)
    assert not wrong, wrong[:5]


def _settled(place: Place, *, at_most: int | None = None) -> int:
    """The count, once what has ended is cleared away."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        gc.collect()
        found = place.connections([os.getpid()])
        if at_most is None or found <= at_most or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@pytest.mark.soak
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_bursts_with_idle_gaps_leave_nothing_open(on_sqlite: Place, on_postgres: Place) -> None:
    """The server ends the threads that answered a burst before the next one comes."""
    with ExitStack() as stack:
        webs = [stack.enter_context(running(each.installation)) for each in (on_sqlite, on_postgres)]
        counts: list[list[int]] = [[], []]
        for burst in range(BURSTS):
            for web in webs:
                _burst(web, burst)
            time.sleep(GAP_SECONDS)
            for number, (web, where) in enumerate(zip(webs, (on_sqlite, on_postgres), strict=True)):
                counts[number].append(where.connections(web.pids))
    print(f"open connections after each gap, on SQLite and on Postgres: {counts}")
    assert all(each[-1] <= each[0] + _BY_CHANCE for each in counts), counts


def _burst(web: Web, burst: int) -> None:
    """Every client calls every route some times, all clients at once."""
    wrong: list[str] = []

    def call(number: int) -> None:
        line = Connection(web, number % WORKERS)
        route_clients = [
            kind(web.installation, first=1000 * (CLIENTS * burst + number)) for kind in ALL_ROUTE_CLIENTS
        ]
        for client in route_clients * _ROUNDS:
            answer = ask(line, client, client.next())
            if not answer.well:
                wrong.append(f"{client.name}: {answer.wrong or answer.status}")
        line.close()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=120)
    assert not wrong, wrong[:5]
