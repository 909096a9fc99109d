"""Prepared reads give what SQLAlchemy gives, survive a lost connection and leave none behind."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from licenzy.db.prepared import PreparedRead, ThreadConnections
from sqlalchemy import Select, and_, bindparam, func, literal, or_, select, text

from licenzy.alignment.modes import Mode
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.kit.clock import to_micros
from licenzy.projects.models import Project, ProjectSide
from licenzy.settings import load_settings
from licenzy.workspace.models import Workspace
from tests.support.cast import make_project, make_workspace
from tests.support.clock import START

workspaces: Any = Workspace.__table__  # type: ignore[attr-defined]
projects: Any = Project.__table__  # type: ignore[attr-defined]
sides: Any = ProjectSide.__table__  # type: ignore[attr-defined]

BY_NAME = select(workspaces.c.id, workspaces.c.name).where(workspaces.c.name == bindparam("name"))

only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


@pytest.fixture
def connections(database: Database) -> Iterator[ThreadConnections]:
    made = ThreadConnections(database)
    yield made
    made.close()


@pytest.fixture
def stocked(database: Database) -> Database:
    with database.write() as db:
        for name in ("one", "two", "100% 'odd' :name", "Ünïcode"):
            make_project(db, workspace_id=make_workspace(db, name=name), name=f"of {name}")
    return database


STATEMENTS: list[tuple[Select[Any], dict[str, Any]]] = [
    (BY_NAME, {"name": "one"}),
    (BY_NAME, {"name": "100% 'odd' :name"}),
    (BY_NAME, {"name": "nobody"}),
    (select(func.count()).select_from(projects), {}),
    # A name that stands twice, in another order than it was given.
    (
        select(workspaces.c.name)
        .where(
            or_(
                workspaces.c.name == bindparam("a"),
                and_(workspaces.c.id != bindparam("b"), workspaces.c.name == bindparam("c")),
                workspaces.c.name == func.lower(bindparam("a")),
            )
        )
        .order_by(workspaces.c.name),
        {"c": "two", "b": "x", "a": "one"},
    ),
    # Constants of the statement, and a percent sign in its text.
    (
        select(projects.c.name, literal("100%"), sides.c.mode)
        .join(sides, sides.c.project_id == projects.c.id)
        .where(sides.c.mode == Mode.LIVE, projects.c.name.like(bindparam("like")))
        .order_by(projects.c.name),
        {"like": "of %"},
    ),
    (select(projects.c.id).where(projects.c.name.in_(["of one", "of two"])).order_by(projects.c.id), {}),
    (
        select(workspaces.c.name, projects.c.id)
        .outerjoin(
            projects, and_(projects.c.workspace_id == workspaces.c.id, projects.c.name == bindparam("no"))
        )
        .order_by(workspaces.c.name)
        .limit(2),
        {"no": "nothing"},
    ),
]


@pytest.mark.parametrize("number", range(len(STATEMENTS)))
def test_results_are_those_of_sqlalchemy(
    stocked: Database, connections: ThreadConnections, number: int
) -> None:
    statement, parameters = STATEMENTS[number]
    read = PreparedRead(connections, statement)
    with stocked.read() as db:
        expected = [tuple(row) for row in db.execute(statement, parameters).all()]
    for _ in range(2):
        assert [tuple(row) for row in read.rows(**parameters)] == expected


def test_values_are_the_drivers(stocked: Database, connections: ThreadConnections) -> None:
    read = PreparedRead(connections, select(workspaces.c.created_at, sides.c.mode).join(sides, literal(True)))
    at, mode = read.rows()[0]
    assert (at, type(mode)) == (to_micros(START), str)


def test_a_committed_write_is_seen_at_once(stocked: Database, connections: ThreadConnections) -> None:
    read = PreparedRead(connections, BY_NAME)
    assert read.rows(name="late") == []
    with stocked.write() as db:
        made = make_workspace(db, name="late")
        assert read.rows(name="late") == [], "not before its commit"
    assert [tuple(row) for row in read.rows(name="late")] == [(made, "late")]


def test_each_thread_has_a_connection_of_its_own(stocked: Database, connections: ThreadConnections) -> None:
    read, line = PreparedRead(connections, BY_NAME), threading.Barrier(4)

    def ask(name: str) -> tuple[int, int]:
        line.wait(10)
        found = 0
        for _ in range(50):
            found += len(read.rows(name=name))
        return id(connections.get()), found

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(ask, ["one", "two", "one", "nobody"]))
    assert len({connection for connection, _ in results}) == 4
    assert [found for _, found in results] == [50, 50, 50, 0]


def test_the_engines_end_closes_every_connection(stocked: Database, connections: ThreadConnections) -> None:
    read = PreparedRead(connections, BY_NAME)
    with ThreadPoolExecutor(1) as pool:
        held = [connections.get(), pool.submit(connections.get).result()]
        read.rows(name="one")
        stocked.engine.dispose()
        for connection in held:
            with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError)):
                connection.execute("SELECT 1")
        assert len(read.rows(name="one")) == 1, "whoever asks afterwards gets a fresh one"


def test_writing_is_refused_on_sqlite(tmp_path: Path, sqlite_files: Any) -> None:
    engine = make_engine(sqlite_files.fresh(tmp_path))
    connections = ThreadConnections(Database(engine))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connections.get().execute("DELETE FROM workspaces")
    engine.dispose()


@pytest.mark.parametrize("folder", ["a b", "50%41", "a#b", "a?b=c", "ä", "a&b=c"])
def test_odd_folders(tmp_path: Path, sqlite_files: Any, folder: str) -> None:
    settings = load_settings({"LICENZY_INSTANCE": str(tmp_path / folder)})
    sqlite_files.fresh(tmp_path / folder)
    engine = make_engine(settings.database_url)
    with Database(engine).write() as db:
        made = make_workspace(db, name="one")
    assert PreparedRead(ThreadConnections(Database(engine)), BY_NAME).rows(name="one") == [(made, "one")]
    engine.dispose()


def test_a_file_that_is_gone_is_worded_and_not_made_anew(tmp_path: Path, sqlite_files: Any) -> None:
    engine = make_engine(sqlite_files.fresh(tmp_path))
    read = PreparedRead(ThreadConnections(Database(engine)), BY_NAME)
    path = tmp_path / "licenzy.sqlite3"
    path.rename(tmp_path / "moved")
    with pytest.raises(DatabaseUnavailable):
        read.rows(name="one")
    assert not path.exists()
    (tmp_path / "moved").rename(path)
    assert read.rows(name="one") == []
    engine.dispose()


def test_a_damaged_file_is_worded(tmp_path: Path, sqlite_files: Any) -> None:
    engine = make_engine(sqlite_files.fresh(tmp_path))
    (tmp_path / "licenzy.sqlite3").write_bytes(b"\x5a" * 8192)
    with pytest.raises(DatabaseUnavailable):
        PreparedRead(ThreadConnections(Database(engine)), BY_NAME).rows(name="one")
    engine.dispose()


def test_a_connection_killed_by_postgres_is_replaced(postgres: Any) -> None:
    name = postgres.fresh()
    engine = make_engine(postgres.url(name))
    connections = ThreadConnections(Database(engine))
    read = PreparedRead(connections, BY_NAME)
    assert read.rows(name="one") == []
    killed = connections.get()
    with engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": killed.info.backend_pid})
    assert read.rows(name="one") == []
    assert connections.get() is not killed
    assert killed.closed
    engine.dispose()
    postgres.drop(name)


@only_postgres
def test_what_postgres_refuses_is_not_asked_again_on_another_connection(
    stocked: Database, connections: ThreadConnections
) -> None:
    locking = "SELECT name FROM workspaces WHERE name = :name FOR UPDATE NOWAIT"
    read, first = PreparedRead(connections, text(locking)), connections.get()
    with stocked.write() as holder:
        holder.execute(text(locking), {"name": "one"})
        with pytest.raises(DatabaseUnavailable):
            read.rows(name="one")
    assert connections.get() is first
    assert read.rows(name="one") == [("one",)]


@only_postgres
def test_a_text_that_postgres_would_cut_short_is_refused(connections: ThreadConnections) -> None:
    with pytest.raises(psycopg.DataError):
        PreparedRead(connections, BY_NAME).rows(name="one\0two")


def test_a_postgres_that_is_gone_is_worded(postgres: Any) -> None:
    name = postgres.fresh()
    engine = make_engine(postgres.url(name))
    read = PreparedRead(ThreadConnections(Database(engine)), BY_NAME)
    assert read.rows(name="one") == []
    postgres.drop(name)
    with pytest.raises(DatabaseUnavailable):
        read.rows(name="one")
    engine.dispose()


def test_a_kept_statement_goes_by_the_index_once_its_table_has_filled(postgres: Any) -> None:
    name = postgres.fresh()
    engine = make_engine(postgres.url(name))
    connections = ThreadConnections(Database(engine))
    key = PreparedRead(connections, select(workspaces.c.name).where(workspaces.c.id == bindparam("id")))
    latest = "SELECT name FROM pg_prepared_statements ORDER BY prepare_time DESC LIMIT 1"

    def plan() -> str:
        ((name,),) = connections.get().execute(latest).fetchall()
        explain = f"EXPLAIN (FORMAT JSON) EXECUTE {name} ('wsp_none')"
        return str(connections.get().execute(explain).fetchone()[0][0]["Plan"]["Node Type"])

    with engine.begin() as connected:
        connected.exec_driver_sql("ANALYZE workspaces")  # Which tells Postgres how little there is.
    for _ in range(10):  # After five, Postgres keeps one plan for good.
        assert key.rows(id="wsp_none") == []
    assert plan() == "Seq Scan", "nothing is proven by a table that is read by its index from the start"
    with Database(engine).write() as db:
        db.execute(
            text(
                "INSERT INTO workspaces (id, name, created_at) "
                "SELECT 'wsp_' || n, 'one of many', 0 FROM generate_series(1, 2000) AS n"
            )
        )
    for _ in range(20):
        assert key.rows(id="wsp_7") == [("one of many",)]
    assert plan() == "Index Scan"
    engine.dispose()
    postgres.drop(name)


def test_a_statement_that_cannot_be_kept_yet_is_kept_later(postgres: Any) -> None:
    name = postgres.fresh()
    engine = make_engine(postgres.url(name))
    key = PreparedRead(ThreadConnections(Database(engine)), text("SELECT name FROM not_yet_there"))
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            key.rows()
    with engine.begin() as connected:
        connected.exec_driver_sql("CREATE TABLE not_yet_there AS SELECT 'here' AS name")
    assert key.rows() == [("here",)]
    engine.dispose()
    postgres.drop(name)
