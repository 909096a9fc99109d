"""Every call of either database ends with its caller's deadline, whatever the database does."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from licenzy.db import sqlite
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline
from licenzy.server.wsgi import RequestDeadline
from tests.hotpath.test_group_commit import insert, names
from tests.support.hotpath import make_writer, read_once

only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
SLEEP = text("SELECT CAST(pg_sleep(30) AS text)")


@pytest.fixture
def file(tmp_path: Path, sqlite_files: Any) -> Path:
    sqlite_files.fresh(tmp_path)
    return tmp_path / "licenzy.sqlite3"


@pytest.fixture
def on_sqlite(file: Path) -> Any:
    made = Database(make_engine(f"sqlite:///{file}"))
    yield made
    made.close()


def refused_within(seconds: float, call: Callable[[], object]) -> DatabaseUnavailable:
    """The refusal of a call that is given so much time."""
    began = time.monotonic()
    with deadline.within(seconds), pytest.raises(DatabaseUnavailable) as refused:
        call()
    assert seconds * 0.8 < time.monotonic() - began < seconds + 1
    return refused.value


@only_postgres
def test_a_statement_that_lasts_too_long_is_given_up(database: Database) -> None:
    def in_a_unit_of_work() -> None:
        with database.write() as db:
            db.execute(SLEEP)

    for _ in range(2):
        refused_within(0.5, in_a_unit_of_work)
    assert database.breaker is not None
    assert database.breaker.generation == 0, "Postgres lives: half a second says nothing against it"
    with database.read() as db:
        assert db.execute(text("SELECT 1")).scalar() == 1


@only_postgres
def test_an_address_may_hold_spaces_and_options_of_its_own(database: Database) -> None:
    from licenzy.db import postgres

    url = database.engine.url.set(drivername="postgresql").update_query_dict(
        {"options": "-c lock_timeout=3000 -c search_path=public"}
    )
    spaced = Database(make_engine(url.render_as_string(hide_password=False).replace("+", "%20")))
    parameters = postgres.parameters_of(spaced.engine)
    with postgres.connect_with_limits(parameters, options="-c enable_seqscan=off") as connection:
        assert connection.execute("SHOW lock_timeout").fetchone() == ("3s",)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("4200ms",)
        assert connection.execute("SHOW enable_seqscan").fetchone() == ("off",)
    with spaced.read() as db:
        assert db.execute(text("SHOW search_path")).scalar() == "public"
    spaced.close()


def test_a_strangers_lock_costs_each_caller_their_own_time(on_sqlite: Database, file: Path) -> None:
    writer = make_writer(on_sqlite)
    with sqlite3.connect(file, isolation_level=None) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        waits: list[float] = []

        def call(number: int, seconds: float) -> None:
            began = time.monotonic()
            with deadline.within(seconds), pytest.raises(DatabaseUnavailable):
                writer.run(lambda run: insert(run, f"wsp_{number}"))
            waits.append(time.monotonic() - began - seconds)

        threads = [threading.Thread(target=call, args=(n, 0.3 + 0.05 * (n % 5))) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(waits) == 16
        assert max(waits) < 1
        stranger.execute("ROLLBACK")
    stranger.close()
    assert writer.run(lambda run: insert(run, "wsp_after")) == "wsp_after"
    assert names(on_sqlite) == {"wsp_after"}


@pytest.mark.parametrize("errno", [37, 5, 24])
def test_a_lock_that_cannot_be_had_harms_nobody_who_comes_later(
    on_sqlite: Database, monkeypatch: pytest.MonkeyPatch, errno: int
) -> None:
    writer = make_writer(on_sqlite)
    real, failing = fcntl.flock, [True]

    def flock(descriptor: int, how: int) -> None:
        if failing[0]:
            raise OSError(errno, "injected")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            writer.run(lambda run: insert(run, "wsp_1"))
        with pytest.raises(DatabaseUnavailable), on_sqlite.write():
            pass
    failing[0] = False
    assert writer.run(lambda run: insert(run, "wsp_1")) == "wsp_1"
    with on_sqlite.write():
        pass


def test_a_file_that_is_moved_away_refuses_and_another_is_noticed(on_sqlite: Database, file: Path) -> None:
    writer = make_writer(on_sqlite)
    writer.run(lambda run: insert(run, "wsp_1"))
    assert read_once(on_sqlite) is not None
    away = file.rename(file.with_name("away"))
    with pytest.raises(DatabaseUnavailable):
        writer.run(lambda run: insert(run, "wsp_2"))
    with pytest.raises(DatabaseUnavailable), on_sqlite.write() as db:
        db.connection()
    assert not file.exists(), "no empty one is made"
    away.rename(file)
    writer.run(lambda run: insert(run, "wsp_3"))
    assert names(on_sqlite) == {"wsp_1", "wsp_3"}


def test_the_log_is_kept_short_and_emptied_in_the_end(
    on_sqlite: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOG_BYTES", 200_000)
    monkeypatch.setattr(sqlite, "_CHECK_EVERY_SECONDS", 0.0)
    writer = make_writer(on_sqlite)
    log, longest = Path(f"{file}-wal"), 0
    reader = sqlite3.connect(file, isolation_level=None)
    for number in range(300):
        writer.run(lambda run, number=number: insert(run, f"wsp_{number}"))
        if number == 100:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM workspaces").fetchone()
        if number == 200:
            reader.execute("COMMIT")
        if number > 201:
            longest = max(longest, log.stat().st_size)
    reader.close()
    assert longest < 300_000
    on_sqlite.close()
    assert not log.exists() or log.stat().st_size == 0
    copied = file.with_name("copied")
    copied.write_bytes(file.read_bytes())
    with sqlite3.connect(copied) as copy:
        assert copy.execute("SELECT count(*) FROM workspaces").fetchone() == (300,)
    copy.close()


def test_a_request_has_the_deadline_that_it_was_given_or_one_of_its_own() -> None:
    given: list[float] = []

    def app(_environ: Any, _start: Any) -> list[bytes]:
        given.append(deadline.seconds_left())
        return []

    limited = RequestDeadline(app)
    limited({}, None)  # type: ignore[arg-type]
    with deadline.until(time.monotonic() + 2):
        limited({}, None)  # type: ignore[arg-type]
    assert [round(seconds) for seconds in given] == [5, 2]
    assert not deadline.is_set()


@only_postgres
def test_a_lock_that_is_waited_for_late_in_a_transaction_is_no_silence(database: Database) -> None:
    """The client gives up shortly before Postgres would have, which was told when the transaction began."""
    with database.write() as db:
        db.execute(text("CREATE TABLE held (id int)"))
        db.execute(text("INSERT INTO held VALUES (1)"))
    lock = text("SELECT 1 FROM held FOR UPDATE")

    def late() -> None:
        with database.write() as db:
            db.execute(text("SELECT 1"))
            time.sleep(0.65)
            db.execute(lock)

    with database.write() as other:
        other.execute(lock)
        refused_within(5, late)
    assert database.breaker is not None
    assert not database.breaker.is_open


def test_an_error_of_the_drivers_is_no_answer_of_postgres() -> None:
    from licenzy.db.engine import is_lost
    from licenzy.db.postgres import NoAnswer

    assert is_lost(psycopg.OperationalError("connection refused"))
    assert is_lost(NoAnswer(5.0))
    assert not is_lost(NoAnswer(0.5))
    assert not is_lost(NoAnswer(4.4, speaks_within=4.5))
    assert not is_lost(psycopg.errors.LockNotAvailable("lock"))
    assert not is_lost(psycopg.errors.TooManyConnections("full"))
    assert not is_lost(ValueError("no"))


def test_another_file_in_the_place_of_the_first_is_not_opened(on_sqlite: Database, file: Path) -> None:
    """Beside it the log of the first one may lie, which SQLite would write into it."""
    writer = make_writer(on_sqlite)
    writer.run(lambda run: insert(run, "wsp_1"))
    assert read_once(on_sqlite) is not None
    backup = file.with_name("backup")
    with sqlite3.connect(file) as source, sqlite3.connect(backup) as target:
        source.backup(target)
    source.close()
    target.close()
    first, copied = file.rename(file.with_name("first")), backup.read_bytes()
    backup.rename(file)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            writer.run(lambda run: insert(run, "wsp_2"))
        with pytest.raises(DatabaseUnavailable), on_sqlite.write() as db:
            db.connection()
    time.sleep(1.1)
    with pytest.raises(DatabaseUnavailable):
        read_once(on_sqlite)
    assert file.read_bytes() == copied
    file.unlink()
    first.rename(file)
    assert writer.run(lambda run: insert(run, "wsp_3")) == "wsp_3"


def test_a_failure_that_repeats_is_logged_once_in_a_while(
    on_sqlite: Database, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with on_sqlite.write() as db:
        db.execute(text("DROP TABLE memberships"))
    for _ in range(50):
        with pytest.raises(DatabaseUnavailable), on_sqlite.read() as db:
            db.execute(text("SELECT * FROM memberships"))
    assert len(caplog.records) <= 1


def test_a_file_that_is_missing_is_logged(
    on_sqlite: Database, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with on_sqlite.read() as db:
        db.connection()
    away = file.rename(file.with_name("away"))
    for _ in range(20):
        with pytest.raises(DatabaseUnavailable), on_sqlite.write():
            pass
    assert [each.getMessage() for each in caplog.records] == [
        f"the database cannot be used: the file {file} is missing"
    ]
    away.rename(file)
