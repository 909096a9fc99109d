"""The writers' line: one at a time, in turns, within a deadline, and freed by a crash; and shared commits."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from licenzy.db.line import WritersLine
from licenzy.db.writer import SqliteWriter
from sqlalchemy import event

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline
from licenzy.workspace.models import Workspace
from tests.support.clock import START
from tests.support.ports import wait_until

HOLDER = """
import sys, time
from pathlib import Path
from licenzy.db.line import WritersLine
with WritersLine(Path(sys.argv[1])).turn(seconds=10):
    print("in", flush=True)
    time.sleep(60)
"""
COUNTER = """
import sys
from pathlib import Path
from licenzy.db.line import WritersLine
line, number = WritersLine(Path(sys.argv[1])), Path(sys.argv[1] + ".number")
for turn in range(100):
    with line.turn(seconds=60):
        number.write_text(str(int(number.read_text()) + 1))
"""


@pytest.fixture
def database(tmp_path: Path, sqlite_files: object) -> Iterator[Database]:
    made = Database(make_engine(sqlite_files.fresh(tmp_path)))  # type: ignore[attr-defined]
    yield made
    made.close()


@pytest.fixture
def writer(database: Database) -> SqliteWriter:
    assert database.writer is not None
    return database.writer


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == "in\n"
    return process


def test_a_crash_in_another_process_frees_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    line, process = WritersLine(path), holder(path)
    with pytest.raises(DatabaseUnavailable), line.turn(seconds=0.1):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with line.turn(seconds=10):
        pass
    line.close()


def test_processes_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    Path(f"{path}.number").write_text("0")
    counters = [subprocess.Popen([sys.executable, "-c", COUNTER, str(path)]) for _ in range(3)]
    assert [counter.wait() for counter in counters] == [0, 0, 0]
    assert Path(f"{path}.number").read_text() == "300"


def test_who_comes_back_at_once_does_not_pass_who_waits(tmp_path: Path) -> None:
    """A process that writes without a pause lets another one in between."""
    greedy, patient = WritersLine(tmp_path / "a.sqlite3"), WritersLine(tmp_path / "a.sqlite3")
    turns, done = [0], threading.Event()

    def take_all() -> None:
        while not done.is_set():
            with greedy.turn(seconds=30):
                turns[0] += 1
                time.sleep(0.002)

    thread = threading.Thread(target=take_all)
    thread.start()
    passed = []
    for _ in range(20):
        before = turns[0]
        with patient.turn(seconds=30):
            passed.append(turns[0] - before)
    done.set()
    thread.join()
    assert sum(passed) / len(passed) <= 5, passed
    greedy.close()
    patient.close()


def test_a_forked_child_has_a_place_of_its_own(tmp_path: Path) -> None:
    line = WritersLine(tmp_path / "a.sqlite3")
    with line.turn(seconds=1):
        child = os.fork()
        if not child:
            try:
                with line.turn(seconds=0.2):
                    os._exit(1)
            except DatabaseUnavailable:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    line.close()


def test_a_unit_of_work_waits_in_the_same_line(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.2)
    process = holder(tmp_path / "licenzy.sqlite3")
    with pytest.raises(DatabaseUnavailable), database.write():
        pass
    with database.read() as db:
        assert db.get(Workspace, "none") is None, "reading needs no turn"
    process.kill()
    process.wait()
    with database.write() as db:
        db.add(Workspace(id="wsp_1", name="0", created_at=START))


def insert(connection: sqlite3.Connection, name: str) -> str:
    connection.execute("INSERT INTO workspaces (id, name, created_at) VALUES (?, 'x', 0)", (name,))
    return name


def names(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        return {row[0] for row in connection.exec_driver_sql("SELECT id FROM workspaces")}


def together(writer: SqliteWriter, database: Database, works: list[str]) -> dict[str, object]:
    """Have several threads write while the line is held, so that they wait for one commit together."""
    told: dict[str, object] = {}

    def work(name: str) -> None:
        try:
            told[name] = writer.run(lambda connection: insert(connection, name))
        except Exception as error:
            told[name] = error

    threads = [threading.Thread(target=work, args=(name,)) for name in works]
    with database.write():
        for thread in threads:
            thread.start()
        wait_until(lambda: len(writer._waiting) == len(works), seconds=10, what="all wait")
    for thread in threads:
        thread.join()
    return told


def test_who_waits_together_is_committed_together(database: Database, writer: SqliteWriter) -> None:
    begun: list[str] = []
    writer.run(lambda connection: connection.set_trace_callback(begun.append))
    works = [f"wsp_{number}" for number in range(8)]
    assert together(writer, database, works) == {name: name for name in works}
    assert names(database) == set(works)
    assert [said for said in begun if said.startswith(("BEGIN", "COMMIT"))][-2:] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]
    assert begun.count("BEGIN IMMEDIATE") == 1


def test_one_that_fails_harms_no_other(database: Database, writer: SqliteWriter) -> None:
    works = ["wsp_1", "wsp_2", "wsp_2", "wsp_3"]
    told: list[object] = []

    def work(name: str) -> None:
        try:
            told.append(writer.run(lambda connection: insert(connection, name)))
        except sqlite3.IntegrityError as error:
            told.append(type(error))

    threads = [threading.Thread(target=work, args=(name,)) for name in works]
    with database.write():
        for thread in threads:
            thread.start()
        wait_until(lambda: len(writer._waiting) == len(works), seconds=10, what="all wait")
    for thread in threads:
        thread.join()
    assert sorted(map(str, told)) == sorted(
        map(str, ["wsp_1", "wsp_2", "wsp_3", sqlite3.IntegrityError]),
    )
    assert names(database) == {"wsp_1", "wsp_2", "wsp_3"}


def test_nobody_is_answered_before_the_commit(database: Database, writer: SqliteWriter) -> None:
    """A commit that fails is a refusal to all of it, and the next one works again."""

    def full(connection: sqlite3.Connection) -> None:
        insert(connection, "wsp_full")
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(DatabaseUnavailable):
        writer.run(full)
    assert names(database) == set()
    assert writer.run(lambda connection: insert(connection, "wsp_1")) == "wsp_1"


def test_the_writers_connection_is_prepared_as_all_are(writer: SqliteWriter) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    told = writer.run(
        lambda connection: {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in (*expected, "busy_timeout")
        }
    )
    assert 10_000 < told.pop("busy_timeout") <= 15_000
    assert told == expected


def test_a_disposed_engine_leaves_no_connection_behind(database: Database, writer: SqliteWriter) -> None:
    writer.run(lambda connection: insert(connection, "wsp_1"))
    closed: list[object] = []
    event.listen(database.engine, "engine_disposed", closed.append)
    database.engine.dispose()
    assert closed
    assert writer._connection is None
    assert writer.run(lambda connection: insert(connection, "wsp_2")) == "wsp_2"


def test_who_waits_too_long_is_told_so(
    database: Database, writer: SqliteWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.15)
    with database.write(), pytest.raises(DatabaseUnavailable):
        writer.run(lambda connection: insert(connection, "wsp_1"))
    assert writer.run(lambda connection: insert(connection, "wsp_2")) == "wsp_2"
    assert names(database) == {"wsp_2"}
