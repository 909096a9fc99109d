"""How often the database is asked whether it can be used, and what is told meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from licenzy.db import readiness
from licenzy.db.engine import make_engine
from licenzy.db.failures import failure_of
from licenzy.db.readiness import Readiness
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from tests.support.databases import SqliteFiles
from tests.support.threads import join


@pytest.fixture
def sqlite_database(tmp_path: Path, sqlite_files: SqliteFiles) -> Iterator[Database]:
    made = Database(make_engine(sqlite_files.fresh(tmp_path)))
    yield made
    made.close()


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Somebody else holds the right to write."""
    with closing(sqlite3.connect(str(database.engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def probes_of(database: Database) -> list[str]:
    """The statements by which the database is asked from now on."""
    asked: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "write_probe" in statement:
            asked.append(statement)

    return asked


def test_the_database_is_asked_once_for_all_who_ask_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 600.0)
    monkeypatch.setattr(readiness, "WAIT_SECONDS", 60.0)
    ready, asked = Readiness(database), probes_of(database)
    threads = [threading.Thread(target=ready.check) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=30)
    for _again in range(20):
        ready.check()
    assert len(asked) == 1
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    ready.check()
    assert len(asked) == 2


def test_a_refusal_is_remembered_as_well(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 600.0)
    with database.write() as db:
        db.execute(text("DELETE FROM alembic_version"))
    ready = Readiness(database)
    for _again in range(3):
        with pytest.raises(DatabaseUnavailable, match="has not been migrated"):
            ready.check()


def test_what_was_asked_is_on_disk(database: Database) -> None:
    Readiness(database).check()
    with database.read() as db:
        ((first,),) = db.execute(text("SELECT written_at FROM write_probe"))
    Readiness(database).check()
    with database.read() as db:
        ((second,),) = db.execute(text("SELECT written_at FROM write_probe"))
    assert second > first


def test_nobody_waits_while_somebody_asks_and_the_last_answer_is_young(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "STALE_SECONDS", 600.0)
    ready = Readiness(sqlite_database)
    ready.check()
    asked = probes_of(sqlite_database)
    with locked(sqlite_database):
        asking = asking_in_a_thread(ready)
        for _again in range(5):
            ready.check()
        assert asking.is_alive(), "whoever asks waits for the lock"
    join(asking, seconds=30)
    assert len(asked) <= 1


def test_who_has_nothing_to_go_by_waits_for_a_while(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "WAIT_SECONDS", 0.1)
    ready = Readiness(sqlite_database)
    with locked(sqlite_database):
        asking = asking_in_a_thread(ready)
        with pytest.raises(DatabaseUnavailable, match="has not answered yet"):
            ready.check()
    join(asking, seconds=30)
    ready.check()


def asking_in_a_thread(ready: Readiness) -> threading.Thread:
    """A thread that has begun to ask the database."""
    asking = threading.Thread(target=ready.check, daemon=True)
    asking.start()
    while not ready._asking.locked():
        assert asking.is_alive()
    return asking


def test_a_full_disk_is_told_from_other_troubles(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "small.sqlite3")) as small:
        small.execute("CREATE TABLE t (x)")
        small.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            small.execute("INSERT INTO t VALUES (zeroblob(100000))")
    failure = failure_of(full.value)
    assert failure is not None
    assert failure.message == "The database cannot be written to: the disk is full."
    assert failure_of(ValueError("no trouble of a database's")) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_disk_without_room_is_told_before_a_write_fails(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small write still goes into a part of the log that was copied."""
    monkeypatch.setattr(readiness, "LEAST_ROOM_BYTES", 2**62)
    with pytest.raises(DatabaseUnavailable, match="the disk is full"):
        Readiness(database).check()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_missing_right_is_told_from_other_troubles(database: Database) -> None:
    with database.engine.connect() as connection:
        connection.execute(text("SET LOCAL ROLE pg_monitor"))
        with pytest.raises(DBAPIError) as refused:
            connection.execute(text("INSERT INTO write_probe VALUES (1, 1)"))
    failure = failure_of(refused.value)
    assert failure is not None
    assert failure.message == "The database cannot be written to: its user lacks the permission."
