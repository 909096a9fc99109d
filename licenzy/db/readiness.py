"""Whether this process can serve: its schema fits, and the database takes a write that reaches the disk."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from licenzy.db.failures import DISK_FULL, Failure, failure_of
from licenzy.db.schema import Fit, fit_of, misfit_of, note_of
from licenzy.db.sqlite import FileState
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable

FRESH_SECONDS = 1.0
"""For how long an answer is given again before the database is asked anew."""
STALE_SECONDS = 6.0
"""How old an answer may be that is given while the database is being asked: what one asking may take."""
WAIT_SECONDS = 2.0
"""How long a caller waits for another one's asking when there is no such answer."""
LEAST_ROOM_BYTES = 64 * 1024
"""With less than this the next writes of SQLite fail."""

_log = logging.getLogger("licenzy.db")


class _Outcome(NamedTuple):
    at: float
    """On the monotonic clock."""
    problem: Failure | None


_UNAVAILABLE = Failure("The database cannot be used right now.", "Check that it runs. The log has its error.")
_SLOW = Failure("The database has not answered yet.", "Check that it runs, and why it is slow.")
_MISSING = Failure(
    "The database file is missing.", "Stop Licenzy, restore the file, and start Licenzy again."
)
_REPLACED = Failure("The database file was replaced while Licenzy runs.", "Restart Licenzy.")


class Readiness:
    """What one process knows of its database; shared by its threads.

    The database is asked at most once in FRESH_SECONDS, by one thread at a time, however many ask here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest: _Outcome | None = None
        self._asking = threading.Lock()

    def check(self) -> None:
        """Raise DatabaseUnavailable, which names what is wrong, unless this process can serve."""
        problem = self._outcome().problem
        if problem is not None:
            raise DatabaseUnavailable(problem.message, hint=problem.hint)

    def _outcome(self) -> _Outcome:
        latest = self._latest
        if latest is not None and time.monotonic() - latest.at < FRESH_SECONDS:
            return latest
        # Whoever finds somebody asking holds no thread up for it, as long as the last answer says something.
        is_usable = latest is not None and time.monotonic() - latest.at < STALE_SECONDS
        if not self._asking.acquire(timeout=0 if is_usable else WAIT_SECONDS):
            return latest if latest is not None and is_usable else _Outcome(time.monotonic(), _SLOW)
        try:
            if self._latest is latest:  # Nobody else has asked while this caller waited.
                problem = self._problem()
                self._latest = _Outcome(time.monotonic(), problem)
            assert self._latest is not None
            return self._latest
        finally:
            self._asking.release()

    def _problem(self) -> Failure | None:
        if (lost := self._lost_file()) is not None:
            return lost
        if self._disk_is_full():
            return DISK_FULL
        try:
            fit = self._write()
        except DatabaseUnavailable as error:
            return failure_of(error) or _UNAVAILABLE
        except DBAPIError as error:
            # For the driver it is the statement's fault when a server only lets read.
            failure = failure_of(error)
            if failure is None:
                raise
            _log.error("the database cannot be written to: %s", error.orig)
            return failure
        return misfit_of(fit)

    def _write(self) -> Fit:
        """How the schema fits, after a transaction that waits for the disk as every other one does."""
        with self._database.write() as db:
            connection = db.connection()
            fit = fit_of(connection)
            if misfit_of(fit) is None:
                connection.execute(_PROBE, {"now": time.time_ns() // 1000})
        return fit

    def _disk_is_full(self) -> bool:
        """Whether there is no room for the next growth of SQLite's log.

        The probe would not notice: until then it overwrites a part of the log that was copied.
        """
        file = self._database.file
        if file is None:
            return False
        room = os.statvfs(file.path.parent)
        blocks = room.f_bavail if os.geteuid() else room.f_bfree  # Some are kept for root.
        return blocks * room.f_frsize < LEAST_ROOM_BYTES

    def _lost_file(self) -> Failure | None:
        """What is wrong with the file of SQLite itself."""
        file = self._database.file
        if file is None:
            return None
        state = file.state()
        if state is FileState.MISSING:
            is_known = file.was_seen or note_of(self._database.engine).exists()
            return _MISSING if is_known else misfit_of(Fit.OUTDATED)
        return _REPLACED if state is FileState.REPLACED else None


_PROBE = text(
    "INSERT INTO write_probe (id, written_at) VALUES (1, :now) "
    "ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at"
)
