"""Reading on a loop: never waiting longer than the caller, by indexes, on connections that it owns."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.snapshot import SQLITE_STATEMENT, SnapshotReader, SubjectSnapshot
from licenzy.settings import load_settings
from tests.support.cast import Cast
from tests.support.hotpath import on_a_loop, read_once

only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@only_sqlite
def test_the_loops_connection_cannot_write(database: Database) -> None:
    async def run(reader: Any) -> None:
        await reader.read("none", "nobody", ends_at=time.monotonic() + 5)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._cursor.execute("DELETE FROM workspaces")

    on_a_loop(database, run)


@only_postgres
def test_a_connection_killed_while_idle_is_replaced_once(database: Database) -> None:
    async def run(reader: Any) -> None:
        assert await reader.read("none", "nobody", ends_at=time.monotonic() + 5)
        killed = reader._owner.connection
        with database.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": killed.info.backend_pid})
        assert await reader.read("none", "nobody", ends_at=time.monotonic() + 5)
        assert reader._owner.connection is not killed
        assert killed.closed

    on_a_loop(database, run)


@only_postgres
def test_each_caller_waits_for_its_own_time(database: Database, cast: Cast) -> None:
    """Somebody's exclusive lock holds a batch; those who come meanwhile are refused when their time is up."""

    async def run(reader: SnapshotReader) -> None:
        began = time.monotonic()

        async def wait(seconds: float) -> float:
            with pytest.raises(DatabaseUnavailable):
                await reader.read("none", "nobody", ends_at=began + seconds)
            return time.monotonic() - began - seconds

        waits = [asyncio.ensure_future(wait(2.0))]
        await asyncio.sleep(0.1)
        waits += [asyncio.ensure_future(wait(0.2 + 0.05 * number)) for number in range(10)]
        late = await asyncio.gather(*waits)
        assert max(late) < 0.5
        locker.rollback()
        assert await reader.read("none", "nobody", ends_at=time.monotonic() + 5)

    with database.engine.connect() as locker:
        locker.execute(text("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE"))
        on_a_loop(database, run)
    assert database.breaker is not None
    assert not database.breaker.is_open, "a lock says that there is a database"


@only_postgres
def test_a_plan_goes_by_indexes_from_the_start(database: Database, cast: Cast) -> None:
    """Even before Postgres knows anything of the tables, and when it keeps the plan for good."""

    async def run(reader: Any) -> None:
        for _ in range(8):
            await reader.read("none", "nobody", ends_at=time.monotonic() + 5)
        connection = reader._owner.connection
        found = await connection.execute(
            "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%unnest%'"
        )
        ((name,),) = await found.fetchall()
        plan = await connection.execute(f"EXPLAIN EXECUTE {name} ('{{a}}', '{{b}}')")
        lines = [line for (line,) in await plan.fetchall()]
        assert not [line for line in lines if "Seq Scan" in line], lines

    on_a_loop(database, run)


@only_sqlite
def test_sqlite_looks_everything_up(database: Database) -> None:
    with database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {SQLITE_STATEMENT}", ("none", "nobody"))
        steps = [row[-1] for row in plan]
    assert not [step for step in steps if step.startswith("SCAN")], steps
    assert any("uq_products_default" in step for step in steps)


def test_a_reader_that_is_closed_leaves_nothing(database: Database) -> None:
    async def run(reader: Any) -> Any:
        await reader.read("none", "nobody", ends_at=time.monotonic() + 5)
        return reader

    reader = on_a_loop(database, run)
    assert (reader._cursor if database.is_sqlite else reader._owner.connection) is None


@pytest.mark.parametrize("folder", ["a b", "50%41", "a#b", "a?b=c", "ä", "a&b=c"])
def test_odd_folders(tmp_path: Path, sqlite_files: Any, folder: str) -> None:
    settings = load_settings({"LICENZY_INSTANCE": str(tmp_path / folder)})
    sqlite_files.fresh(tmp_path / folder)
    database = Database(make_engine(settings.database_url))
    assert read_once(database) == SubjectSnapshot(None)
    database.close()


def test_a_damaged_file_is_worded(tmp_path: Path, sqlite_files: Any) -> None:
    database = Database(make_engine(sqlite_files.fresh(tmp_path)))
    (tmp_path / "licenzy.sqlite3").write_bytes(b"\x5a" * 8192)
    with pytest.raises(DatabaseUnavailable):
        read_once(database)
    database.engine.dispose()
