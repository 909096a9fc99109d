"""Engines and the unit of work, on both databases."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline
from licenzy.workspace.models import Workspace
from tests.support.clock import START

Impatient = Callable[[], Database]


def workspace(number: int = 1, name: str = "0") -> Workspace:
    return Workspace(id=f"wsp_{number}", name=name, created_at=START)


def count(database: Database) -> int:
    with database.read() as db:
        return db.exec(select(func.count()).select_from(Workspace)).one()


@pytest.fixture
def sqlite_path(tmp_path: Path, sqlite_files: object) -> Path:
    sqlite_files.fresh(tmp_path)  # type: ignore[attr-defined]
    return tmp_path / "licenzy.sqlite3"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, sqlite_path: Path) -> Iterator[Impatient]:
    """Databases on one SQLite file that wait for their turn a quarter of a second."""
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.25)
    made: list[Engine] = []

    def make() -> Database:
        made.append(make_engine(f"sqlite:///{sqlite_path}", pool_size=1))
        return Database(made[-1])

    yield make
    for engine in made:
        engine.dispose()


def test_every_pooled_connection_of_sqlite_is_prepared(sqlite_path: Path) -> None:
    engine = make_engine(f"sqlite:///{sqlite_path}", pool_size=5)
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for _ in range(10):
        held = [engine.connect() for _ in range(10)]
        for connection in held:
            found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected}
            assert found == expected
            assert 10_000 < int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar() or 0) <= 15_000
        for connection in held:
            connection.close()
    engine.dispose()


@pytest.mark.parametrize("url", ["mysql://localhost/x", "oracle://localhost/x"])
def test_other_databases_are_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be a sqlite:/// or postgresql:// address\."):
        make_engine(url)


def test_a_write_commits_when_it_ends_and_rolls_back_when_it_raises(database: Database) -> None:
    with database.write() as db:
        db.add(workspace(1))
    assert count(database) == 1

    def break_off() -> None:
        with database.write() as db:
            db.add(workspace(2))
            db.flush()
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    assert count(database) == 1


def test_a_refused_row_is_the_callers_business(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as db:
        db.add_all([workspace(1), workspace(1)])
    assert count(database) == 0


def test_a_read_never_commits(database: Database) -> None:
    with database.read() as db:
        db.add(workspace(1))
        db.flush()
        db.execute(text("UPDATE workspaces SET name = 'changed'"))
    assert count(database) == 0


def test_what_was_read_can_be_used_after_its_block(database: Database) -> None:
    with database.write() as db:
        made = workspace(1, "kept")
        db.add(made)
    assert made.name == "kept"
    with database.read() as db:
        found = db.exec(select(Workspace)).one()
    assert (found.name, found.created_at) == ("kept", START)


def test_foreign_keys_are_kept(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as db:
        db.execute(
            text("INSERT INTO projects (id, workspace_id, name, created_at) VALUES ('p', 'no', 'x', 1)")
        )


def test_writers_that_read_first_take_turns(database: Database) -> None:
    with database.write() as db:
        db.add(workspace(1, "0"))
    rounds, writers = 40, 4

    def add_up() -> None:
        for _ in range(rounds):
            with database.write() as db:
                row = db.exec(select(Workspace).where(col(Workspace.id) == "wsp_1").with_for_update()).one()
                row.name = str(int(row.name) + 1)

    with ThreadPoolExecutor(writers) as pool:
        for done in [pool.submit(add_up) for _ in range(writers)]:
            done.result()
    with database.read() as db:
        assert db.exec(select(Workspace.name)).one() == str(rounds * writers)


def test_a_write_holds_the_right_to_write_from_its_first_statement(impatient: Impatient) -> None:
    first, second = impatient(), impatient()
    with first.write() as db:
        db.exec(select(Workspace)).all()
        with pytest.raises(DatabaseUnavailable), second.write() as other:
            other.exec(select(Workspace)).all()
        assert count(second) == 0, "readers do not wait for a writer"
    with second.write() as other:
        other.add(workspace(1))
    assert count(first) == 1


def test_a_writer_waits_for_a_lock_that_ends_in_time(impatient: Impatient) -> None:
    first, second = impatient(), impatient()
    held, writing = threading.Event(), threading.Event()

    def hold() -> None:
        with first.write() as db:
            db.add(workspace(1))
            db.flush()
            held.set()
            writing.wait(5)
            time.sleep(0.1)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    writing.set()
    with second.write() as db:
        db.add(workspace(2))
    thread.join()
    assert count(second) == 2


def test_a_strangers_lock_beyond_the_deadline_is_worded(impatient: Impatient, sqlite_path: Path) -> None:
    database = impatient()
    stranger = sqlite3.connect(sqlite_path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as refused, database.write() as db:
        db.add(workspace(1))
    assert 0.2 < time.monotonic() - started < 3
    assert (refused.value.status, refused.value.retry_after) == (503, 2)
    stranger.execute("ROLLBACK")
    stranger.close()
    with database.write() as db:
        db.add(workspace(1))
    assert count(database) == 1


def test_a_pool_that_is_used_up_is_worded(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.2)
    database = Database(make_engine(database_url, pool_size=1))
    with database.read() as one, database.read() as two:
        for held in (one, two):
            held.exec(select(Workspace)).all()
        with pytest.raises(DatabaseUnavailable), database.read() as three:
            three.exec(select(Workspace)).all()
    assert count(database) == 0
    database.engine.dispose()


def test_a_database_that_cannot_be_opened_is_worded(tmp_path: Path) -> None:
    database = Database(make_engine(f"sqlite:///{tmp_path / 'nowhere' / 'licenzy.sqlite3'}"))
    with pytest.raises(DatabaseUnavailable), database.read() as db:
        db.exec(select(Workspace)).all()


def test_a_postgres_that_does_not_listen_is_worded() -> None:
    database = Database(make_engine("postgresql://nobody@127.0.0.1:9/nowhere"))
    with pytest.raises(DatabaseUnavailable), database.write() as db:
        db.exec(select(Workspace)).all()


@pytest.mark.parametrize("damage", ["random", "truncated"])
def test_a_damaged_file_is_worded(impatient: Impatient, sqlite_path: Path, damage: str) -> None:
    whole = sqlite_path.read_bytes()
    sqlite_path.write_bytes(b"\x5a" * 8192 if damage == "random" else whole[: len(whole) // 2])
    with pytest.raises(DatabaseUnavailable), impatient().write() as db:
        db.add(workspace(1))


def test_a_file_that_may_only_be_read_is_worded(impatient: Impatient, sqlite_path: Path) -> None:
    database = impatient()
    # The superuser may write whatever a file's mode says, so the connection itself refuses here.

    def write() -> None:
        with database.write() as db:
            db.execute(text("PRAGMA query_only=ON"))
            db.add(workspace(1))

    with pytest.raises(DatabaseUnavailable):
        write()


@pytest.mark.parametrize("block", ["read", "write"])
def test_a_connection_killed_by_postgres_is_worded_and_replaced(
    request: pytest.FixtureRequest, block: str
) -> None:
    server = request.getfixturevalue("postgres")
    name = server.fresh()
    database = Database(make_engine(server.url(name), pool_size=2))

    def use(db: Session) -> None:
        pid = db.execute(text("SELECT pg_backend_pid()")).scalar()
        with database.write() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        db.exec(select(Workspace)).all()

    with pytest.raises(DatabaseUnavailable), getattr(database, block)() as db:
        use(db)
    assert count(database) == 0
    database.engine.dispose()
    server.drop(name)
