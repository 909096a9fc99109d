"""Units of work on a real Postgres that wait for each other: done anew, bounded, and never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlmodel import Session

from licenzy.db import unit_of_work
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline
from licenzy.workspace.models import Workspace
from tests.support.clock import START
from tests.support.databases import PostgresServer

ADD_ONE = text("UPDATE workspaces SET name = (name::int + 1)::text WHERE id = :id")


@pytest.fixture
def crossed(postgres: PostgresServer) -> Iterator[Database]:
    """A Postgres that finds two transactions waiting for each other at once, with two rows of zero."""
    name = postgres.fresh()
    admin = make_engine(postgres.url(name))
    with admin.begin() as db:
        db.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'"))
    admin.dispose()
    database = Database(make_engine(postgres.url(name), pool_size=4))
    with database.write() as db:
        db.add_all([Workspace(id=each, name="0", created_at=START) for each in "AB"])
    yield database
    database.close()
    postgres.drop(name)


def values(database: Database) -> list[int]:
    with database.read() as db:
        return [int(name) for (name,) in db.execute(text("SELECT name FROM workspaces ORDER BY id"))]


def test_crossed_transactions_are_done_anew_and_count_once(crossed: Database) -> None:
    rounds, begun = 25, []

    def work(order: str) -> None:
        def cross(db: Session) -> None:
            begun.append(order)
            for each in order:
                db.execute(ADD_ONE, {"id": each})
                time.sleep(0.01)

        for _ in range(rounds):
            crossed.retrying(cross)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, order) for order in ("AB", "BA")]:
            done.result()
    assert values(crossed) == [2 * rounds, 2 * rounds]
    assert len(begun) > 2 * rounds, "none of them waited for each other: the test proves nothing"


def test_what_cannot_both_have_been_first_is_done_anew(crossed: Database) -> None:
    begun, gate = [], threading.Barrier(2, timeout=10)

    def add(db: Session) -> None:
        db.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        seen = int(db.execute(text("SELECT name FROM workspaces WHERE id = 'A'")).scalar_one())
        begun.append(seen)
        if len(begun) <= 2:
            gate.wait()
        db.execute(text("UPDATE workspaces SET name = :name WHERE id = 'A'"), {"name": str(seen + 1)})

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(crossed.retrying, add) for _ in range(2)]:
            done.result()
    assert values(crossed)[0] == 2
    assert begun == [0, 0, 1]


def test_giving_way_ends_with_a_worded_refusal(crossed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_of_work, "RETRY_SECONDS", 0.5)
    tries = []

    def never(db: Session) -> None:
        tries.append(1)
        db.execute(text("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"))

    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as refused:
        crossed.retrying(never)
    assert (refused.value.status, refused.value.retry_after) == (503, 2)
    assert time.monotonic() - began < 3
    assert len(tries) > 3


def test_other_refusals_are_not_repeated(crossed: Database) -> None:
    tries = []

    def fail(db: Session) -> None:
        tries.append(1)
        raise LookupError

    with pytest.raises(LookupError):
        crossed.retrying(fail)
    assert len(tries) == 1


def test_a_row_is_waited_for_so_long_and_no_longer(
    crossed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.3)
    with crossed.write() as holder:
        holder.execute(ADD_ONE, {"id": "A"})
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            crossed.retrying(lambda db: db.execute(ADD_ONE, {"id": "A"}))
        assert 0.25 < time.monotonic() - began < 3
    assert values(crossed) == [1, 0]


def test_the_bound_belongs_to_the_transaction_alone(crossed: Database) -> None:
    for block in (crossed.read, crossed.write):
        with block() as db:
            for name in ("lock_timeout", "statement_timeout"):
                bound = db.execute(text("SELECT setting FROM pg_settings WHERE name = :name"), {"name": name})
                assert 10_000 < int(bound.scalar_one()) <= 13_500
    with crossed.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for _ in range(8):
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"
