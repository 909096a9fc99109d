"""Threads that tests start: they must end, and where they must wait for each other, they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import text
from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from tests.support.ports import wait_until

WAITING_FOR_LOCKS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
"""How many sessions of this database wait for a lock; other tests' databases are on the same server."""


def join(*threads: threading.Thread, seconds: float) -> None:
    """Wait for the end of threads, together for at most so long; fails when one still runs then."""
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    running = [thread.name for thread in threads if thread.is_alive()]
    assert running == [], f"still running after {seconds:g} s"


def somebody_waits(database: Database) -> bool:
    """Whether a session of this Postgres database waits for a lock."""
    return number_waiting(database) > 0


def number_waiting(database: Database) -> int:
    """How many sessions of this Postgres database wait for a lock."""
    with database.read() as db:
        return int(db.execute(text(WAITING_FOR_LOCKS)).scalar_one())


def run_in_overlapping_transactions(
    database: Database, first: Callable[[Session], object], second: Callable[[Session], object]
) -> None:
    """Run both, each in its own transaction; the first commits only once the second waits for its locks.

    SQLite has one writer at a time, so there the second waits for the right to begin.
    """
    first_has_written, second_begins, first_may_commit = (threading.Event() for _ in range(3))

    def run_first() -> None:
        with database.write() as db:
            first(db)
            first_has_written.set()
            assert first_may_commit.wait(30)

    def run_second() -> None:
        second_begins.set()
        with database.write() as db:
            second(db)

    threads = [threading.Thread(target=run_first)]
    threads[0].start()
    try:
        assert first_has_written.wait(30)
        threads.append(threading.Thread(target=run_second))
        threads[1].start()
        assert second_begins.wait(30)
        if not database.is_sqlite:
            wait_until(lambda: somebody_waits(database), seconds=30, what="the second waits for a lock")
    finally:
        first_may_commit.set()
        join(*threads, seconds=30)
