"""The fair lock of writers: one at a time, in turns, within a deadline, and freed by a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.db.write_lock import FairFileLock
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline
from licenzy.workspace.models import Workspace
from tests.support.clock import START

HOLDER = """
import sys, time
from pathlib import Path
from licenzy.db.write_lock import FairFileLock
with FairFileLock(Path(sys.argv[1])).acquired(seconds=10):
    print("in", flush=True)
    time.sleep(60)
"""
COUNTER = """
import sys
from pathlib import Path
from licenzy.db.write_lock import FairFileLock
line, number = FairFileLock(Path(sys.argv[1])), Path(sys.argv[1] + ".number")
for turn in range(100):
    with line.acquired(seconds=60):
        number.write_text(str(int(number.read_text()) + 1))
"""


@pytest.fixture
def database(tmp_path: Path, sqlite_files: object) -> Iterator[Database]:
    made = Database(make_engine(sqlite_files.fresh(tmp_path)))  # type: ignore[attr-defined]
    yield made
    made.close()


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == "in\n"
    return process


def test_a_crash_in_another_process_frees_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    line, process = FairFileLock(path), holder(path)
    with pytest.raises(DatabaseUnavailable), line.acquired(seconds=0.1):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with line.acquired(seconds=10):
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
    greedy, patient = FairFileLock(tmp_path / "a.sqlite3"), FairFileLock(tmp_path / "a.sqlite3")
    turns, done = [0], threading.Event()

    def take_all() -> None:
        while not done.is_set():
            with greedy.acquired(seconds=30):
                turns[0] += 1
                time.sleep(0.002)

    thread = threading.Thread(target=take_all)
    thread.start()
    passed = []
    for _ in range(20):
        before = turns[0]
        with patient.acquired(seconds=30):
            passed.append(turns[0] - before)
    done.set()
    thread.join()
    assert sum(passed) / len(passed) <= 5, passed
    greedy.close()
    patient.close()


def test_a_forked_child_has_a_place_of_its_own(tmp_path: Path) -> None:
    line = FairFileLock(tmp_path / "a.sqlite3")
    with line.acquired(seconds=1):
        child = os.fork()
        if not child:
            try:
                with line.acquired(seconds=0.2):
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
