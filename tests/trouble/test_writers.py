"""Who writes to SQLite waits no longer than its own deadline, whatever fails, and the next one writes on."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline
from tests.support.hotpath import Writer, make_writer
from tests.trouble.faulty_calls import DISK, KINDS, LOCKED, Fault, Kind, injected

SEED = int(os.environ.get("LICENZY_TEST_SEED", "7"))
"""Set another one to try other faults, callers and deadlines."""
SLACK_SECONDS = 1.0
"""How much longer than its deadline a caller may take."""
_HANGS_AFTER = 10.0
_numbers = itertools.count()

Way = Callable[[Database, str], None]
_writers: weakref.WeakKeyDictionary[Database, Writer] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def writer_of(database: Database) -> Writer:
    """The committer of a test's database."""
    with _guard:
        if database not in _writers:
            _writers[database] = make_writer(database)
        return _writers[database]


def in_a_piece(database: Database, name: str) -> None:
    """As consuming does: together with what others write."""
    writer_of(database).run(lambda run: run("INSERT INTO notes VALUES (?)", (name,)))


def in_a_unit_of_work(database: Database, name: str) -> None:
    """As everything else does."""
    with database.write() as db:
        db.execute(text("INSERT INTO notes VALUES (:name)"), {"name": name})


WAYS: tuple[Way, ...] = (in_a_piece, in_a_unit_of_work)


@dataclass
class Caller:
    """Somebody who writes one row, and what came of it."""

    way: Way
    seconds: float
    name: str = field(default_factory=lambda: f"note {next(_numbers)}")
    error: BaseException | None = None
    took: float | None = None

    def call(self, database: Database) -> None:
        began = time.monotonic()
        try:
            with deadline.within(self.seconds):
                self.way(database, self.name)
        except BaseException as error:
            self.error = error
        self.took = time.monotonic() - began

    @property
    def wrong(self) -> str:
        """What may not be; empty when all is right."""
        if self.took is None:
            return f"{self} hangs"
        if self.took > self.seconds + SLACK_SECONDS:
            return f"{self} took {self.took:.1f} s"
        if self.error is not None and not isinstance(self.error, DatabaseUnavailable | MemoryError):
            return f"{self} met {self.error!r}"
        return ""

    def __str__(self) -> str:
        return f"{self.name} ({self.way.__name__}, {self.seconds:.1f} s)"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notes") / "template.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (name TEXT PRIMARY KEY)")
    return path


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(template, tmp_path / "notes.sqlite3"))


@contextmanager
def opened(file: Path) -> Iterator[Database]:
    database = Database(make_engine(f"sqlite:///{file}"))
    try:
        yield database
    finally:
        database.close()


def all_at_once(database: Database, callers: Sequence[Caller]) -> None:
    """Have everybody call from a thread of their own, and wait for them, though not for ever."""
    # Daemons, so that one that hangs is told of and does not keep the tests from their end.
    threads = [threading.Thread(target=each.call, args=(database,), daemon=True) for each in callers]
    for thread in threads:
        thread.start()
    ends_at = time.monotonic() + max(each.seconds for each in callers) + _HANGS_AFTER
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))


def notes(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM notes")]


def must_be_right(file: Path, database: Database, callers: Sequence[Caller]) -> None:
    """Nobody waited too long, the next one writes, and who was told that it is written finds it."""
    wrong = [each.wrong for each in callers if each.wrong]
    if all(each.took is not None for each in callers):
        later = [Caller(way, 2.0) for way in WAYS]
        for each in later:
            all_at_once(database, [each])
            if each.wrong or each.error:
                wrong.append(f"after the fault {each.wrong or each.error!r}")
        written = {each.name for each in (*callers, *later) if each.took is not None and each.error is None}
        wrong += [f"{name} was written and is lost" for name in written - set(notes(file))]
    assert not wrong, wrong


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("callers", [1, 2])
def test_a_call_fails_once(template: Path, tmp_path: Path, kind: Kind, way: Way, callers: int) -> None:
    for passes in range(3):
        file = Path(shutil.copyfile(template, tmp_path / f"{passes}.sqlite3"))
        those = [Caller(way, 1.0) for _ in range(callers)]
        with opened(file) as database, injected(Fault(kind, passes)) as fault:
            all_at_once(database, those)
            fault.end()
            must_be_right(file, database, those)


@pytest.mark.parametrize("way", WAYS)
def test_sixteen_callers_while_somebody_else_has_the_lock(file: Path, way: Way) -> None:
    callers = [Caller(way, 0.5) for _ in range(16)]
    with opened(file) as database:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            all_at_once(database, callers)
        assert [each for each in callers if not isinstance(each.error, DatabaseUnavailable)] == []
        must_be_right(file, database, callers)


@pytest.mark.parametrize("error", [LOCKED, DISK])
def test_a_batch_that_fails_costs_each_its_own_time(file: Path, error: Callable[[], Exception]) -> None:
    """And not that of all who are tried again, one after another."""
    callers = [Caller(in_a_piece, 0.5) for _ in range(16)]
    fault = Fault(Kind("commit", error, "slow"), times=100, seconds=0.4)
    with opened(file) as database, injected(fault):
        all_at_once(database, callers)
        fault.end()
        must_be_right(file, database, callers)


def in_a_slow_piece(database: Database, name: str) -> None:
    writer_of(database).run(lambda _run: time.sleep(2))
    in_a_piece(database, name)


def in_a_slow_unit_of_work(database: Database, name: str) -> None:
    with database.write():
        time.sleep(2)
    in_a_unit_of_work(database, name)


@pytest.mark.slow
@pytest.mark.parametrize("slow", [in_a_slow_piece, in_a_slow_unit_of_work])
@pytest.mark.parametrize("way", WAYS)
def test_who_waits_for_a_slow_one_leaves_in_time(file: Path, slow: Way, way: Way) -> None:
    first, callers = Caller(slow, 5.0), [Caller(way, 0.3) for _ in range(6)]
    with opened(file) as database:
        thread = threading.Thread(target=first.call, args=(database,), daemon=True)
        thread.start()
        time.sleep(0.3)
        all_at_once(database, callers)
        thread.join(_HANGS_AFTER)
        assert [each for each in callers if not isinstance(each.error, DatabaseUnavailable)] == []
        must_be_right(file, database, [first, *callers])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", [300, pytest.param(5000, marks=pytest.mark.soak)])
def test_any_call_fails_some_times_under_some_callers(template: Path, tmp_path: Path, seeds: int) -> None:
    for seed in range(SEED, SEED + seeds):
        chance = random.Random(seed)
        file = Path(shutil.copyfile(template, tmp_path / f"{seed}.sqlite3"))
        kind = chance.choice(KINDS)
        times = 1 if kind.error is MemoryError else chance.randint(1, 12)
        callers = [Caller(chance.choice(WAYS), chance.uniform(0.2, 0.6)) for _ in range(chance.randint(2, 8))]
        with opened(file) as database, injected(Fault(kind, chance.randint(0, 12), times)) as fault:
            all_at_once(database, callers)
            fault.end()
            try:
                must_be_right(file, database, callers)
            except AssertionError as found:
                raise AssertionError(f"seed {seed}, {kind}: {found}") from None
        file.unlink()
