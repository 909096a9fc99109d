"""Shared commits on SQLite: for all who wait, before any of them is answered, and without harm by another."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.consume_sql import Run
from licenzy.kit import deadline
from tests.support.hotpath import Writer, make_writer
from tests.support.loops import run_on_a_loop
from tests.support.ports import wait_until


@pytest.fixture
def database(tmp_path: Path, sqlite_files: Any) -> Iterator[Database]:
    made = Database(make_engine(sqlite_files.fresh(tmp_path)))
    yield made
    made.close()


@pytest.fixture
def writer(database: Database) -> Writer:
    return make_writer(database)


def insert(run: Run, name: str) -> str:
    run("INSERT INTO workspaces (id, name, created_at) VALUES (?, 'x', 0)", (name,))
    return name


def names(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        return {row[0] for row in connection.exec_driver_sql("SELECT id FROM workspaces")}


def together(writer: Writer, database: Database, works: list[str]) -> dict[str, object]:
    """Have several threads write while the line is held, so that they wait for one commit together."""
    told: dict[str, object] = {}

    def work(name: str) -> None:
        try:
            told[name] = writer.run(lambda run: insert(run, name))
        except Exception as error:
            told[name] = error

    threads = [threading.Thread(target=work, args=(name,)) for name in works]
    with database.write():
        for thread in threads:
            thread.start()
        wait_until(lambda: writer.waiting == len(works), seconds=10, what="all wait")
    for thread in threads:
        thread.join()
    return told


def test_who_waits_together_is_committed_together(database: Database, writer: Writer) -> None:
    begun: list[str] = []
    writer.run(lambda _run: None)
    assert writer.batches._connection is not None
    writer.batches._connection.set_trace_callback(begun.append)
    works = [f"wsp_{number}" for number in range(8)]
    assert together(writer, database, works) == {name: name for name in works}
    assert names(database) == set(works)
    assert [said for said in begun if said.startswith(("BEGIN", "COMMIT"))][-2:] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]
    assert begun.count("BEGIN IMMEDIATE") == 1


def test_one_that_fails_harms_no_other(database: Database, writer: Writer) -> None:
    works = ["wsp_1", "wsp_2", "wsp_2", "wsp_3"]
    told: list[object] = []

    def work(name: str) -> None:
        try:
            told.append(writer.run(lambda run: insert(run, name)))
        except sqlite3.IntegrityError as error:
            told.append(type(error))

    threads = [threading.Thread(target=work, args=(name,)) for name in works]
    with database.write():
        for thread in threads:
            thread.start()
        wait_until(lambda: writer.waiting == len(works), seconds=10, what="all wait")
    for thread in threads:
        thread.join()
    assert sorted(map(str, told)) == sorted(
        map(str, ["wsp_1", "wsp_2", "wsp_3", sqlite3.IntegrityError]),
    )
    assert names(database) == {"wsp_1", "wsp_2", "wsp_3"}


def test_nobody_is_answered_before_the_commit(database: Database, writer: Writer) -> None:
    """A commit that fails is a refusal to all of it, and the next one works again."""

    def full(run: Run) -> None:
        insert(run, "wsp_full")
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(DatabaseUnavailable):
        writer.run(full)
    assert names(database) == set()
    assert writer.run(lambda run: insert(run, "wsp_1")) == "wsp_1"


def test_the_writers_connection_is_prepared_as_all_are(writer: Writer) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    told = writer.run(
        lambda run: {name: run(f"PRAGMA {name}", ())[0][0] for name in (*expected, "busy_timeout")}
    )
    assert 10_000 < told.pop("busy_timeout") <= 15_000
    assert told == expected


def test_closing_the_database_writes_what_waits_and_leaves_nothing_behind(
    database: Database, writer: Writer
) -> None:
    told: list[object] = []
    writer.run(lambda run: insert(run, "wsp_1"))
    thread = threading.Thread(target=lambda: told.append(writer.run(lambda run: insert(run, "wsp_2"))))
    with database.write():
        thread.start()
        wait_until(lambda: writer.waiting == 1, seconds=10, what="it waits")
    database.close()
    thread.join()
    assert told == ["wsp_2"]
    assert names(database) == {"wsp_1", "wsp_2"}
    assert writer.batches._connection is None
    assert "tests" not in {each.name for each in threading.enumerate()}
    with pytest.raises(DatabaseUnavailable):
        writer.run(lambda run: insert(run, "wsp_3"))


def test_who_waits_too_long_is_told_so(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.15)
    with database.write(), pytest.raises(DatabaseUnavailable):
        writer.run(lambda run: insert(run, "wsp_1"))
    assert writer.run(lambda run: insert(run, "wsp_2")) == "wsp_2"
    assert names(database) == {"wsp_2"}


def test_callers_on_a_loop_are_answered_together(database: Database, writer: Writer) -> None:
    """One wake-up of the loop for each batch, whatever fails within it."""
    woken: list[int] = []

    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()
        real = loop.call_soon_threadsafe

        def counted(callback: Any, *args: Any, **more: Any) -> Any:
            woken.append(1)
            return real(callback, *args, **more)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign,assignment]
        ends_at = time.monotonic() + 5
        works = [
            asyncio.ensure_future(
                writer.committer.submit(lambda run, name=name: insert(run, name), ends_at=ends_at)  # type: ignore[misc]
            )
            for name in (f"wsp_{number}" for number in range(20))
        ]
        await asyncio.sleep(0.1)
        unit.__exit__(None, None, None)
        return await asyncio.gather(*works)

    writer.run(lambda _run: None)
    unit = database.write()
    unit.__enter__()
    assert sorted(run_on_a_loop(run())) == sorted(f"wsp_{number}" for number in range(20))
    assert len(woken) == 1


def test_a_caller_on_a_loop_is_refused_in_time_and_one_that_has_gone_is_not_begun(
    database: Database, writer: Writer
) -> None:
    async def run() -> None:
        began = time.monotonic()
        late = asyncio.ensure_future(
            writer.committer.submit(lambda run: insert(run, "wsp_late"), ends_at=began + 0.3)
        )
        gone = asyncio.ensure_future(
            writer.committer.submit(lambda run: insert(run, "wsp_gone"), ends_at=began + 30)
        )
        await asyncio.sleep(0.1)
        gone.cancel()
        with pytest.raises(DatabaseUnavailable):
            await late
        assert 0.2 < time.monotonic() - began < 1

    with database.write():
        run_on_a_loop(run())
    assert writer.run(lambda run: insert(run, "wsp_1")) == "wsp_1"
    assert names(database) == {"wsp_1"}


def test_a_forked_child_writes_with_a_thread_of_its_own(database: Database, writer: Writer) -> None:
    writer.run(lambda run: insert(run, "wsp_parent"))
    child = os.fork()
    if not child:
        code = 1
        try:
            writer.run(lambda run: insert(run, "wsp_child"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.run(lambda run: insert(run, "wsp_again"))
    assert names(database) == {"wsp_parent", "wsp_child", "wsp_again"}
