"""Connections to a SQLite file: what each is told before it is used, and whether the file is still there."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from licenzy.db.failures import log_unavailable
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline

LOG_BYTES = 64 * 1024 * 1024
"""How long the write-ahead log may grow before it is emptied between two commits."""

_KEPT_LOG_BYTES = 16 * 1024 * 1024
_EMPTYING_SECONDS = 0.05
_CHECK_EVERY_SECONDS = 1.0
_COPY_EVERY_SECONDS = 1.0
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

Identity = tuple[int, int]


def open_writing(path: Path) -> sqlite3.Connection:
    """A connection whose user begins and ends transactions. Raises sqlite3.OperationalError."""
    connection = _open(path)
    wait_at_most(connection, deadline.seconds_left())
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # An acknowledged commit survives power loss, not only a crash.
        "foreign_keys=ON",
        f"journal_size_limit={_KEPT_LOG_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def open_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and never waits. Raises sqlite3.OperationalError."""
    connection = _open(path)
    connection.execute("PRAGMA query_only=ON")
    return connection


def wait_at_most(connection: sqlite3.Connection, seconds: float) -> None:
    """Have the connection wait so long for locks of others, from now on."""
    connection.execute(waiting_at_most(seconds))


def waiting_at_most(seconds: float) -> str:
    """The statement that has a connection wait so long for locks of others."""
    return f"PRAGMA busy_timeout={math.ceil(seconds * 1000)}"


def is_busy(error: BaseException | None) -> bool:
    """Whether somebody else's lock is in the way, and nothing worse."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _BUSY


def identity(path: Path) -> Identity | None:
    """Which file stands at the path; none when there is none.

    What is open may have been moved away or replaced meanwhile, which the connection would not notice.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class FileState(StrEnum):
    """What has become of the file that was there first."""

    THERE = "there"
    MISSING = "missing"
    REPLACED = "replaced"


class DatabaseFile:
    """The file at a path, which may be moved away or replaced while connections to it are open.

    They would go on with what they have opened, and what they write would be lost. One that was moved back is
    the same file again. Another one is not opened: beside it the log of the first one may still lie, and
    SQLite would write that into it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: Identity | None = None
        self._check_at = 0.0

    def state(self) -> FileState:
        """Whether the file that was seen first is at the path."""
        found = identity(self.path)
        if found is None:
            return FileState.MISSING
        if self._known is None:
            self._known = found
        return FileState.THERE if found == self._known else FileState.REPLACED

    @property
    def was_seen(self) -> bool:
        """Whether there has been a file at the path."""
        return self._known is not None

    def check(self) -> None:
        """Raise DatabaseUnavailable unless the file that was seen first is at the path."""
        state = self.state()
        if state is not FileState.THERE:
            log_unavailable(f"the file {self.path} is {state}")
            raise DatabaseUnavailable

    def check_now_and_then(self) -> None:
        """The same, looking once a second: for what only reads."""
        now = time.monotonic()
        if now >= self._check_at:
            self.check()
            self._check_at = now + _CHECK_EVERY_SECONDS


class WriteAheadLog:
    """The log beside the file, which SQLite itself empties only when no reader is in.

    Emptied when it has grown past LOG_BYTES, between two commits, and at the end of a process. What
    a group of calls has written is copied into the file now and then, after they were answered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._check_at = self._copy_at = 0.0

    def keep_short(self) -> None:
        """Empty a log that has grown too long, unless readers stay in it; by who has the right to write."""
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + _CHECK_EVERY_SECONDS
        with suppress(OSError, sqlite3.Error):
            if os.stat(f"{self._path}-wal").st_size > LOG_BYTES:
                self._empty(seconds=0.0)

    def copy_now_and_then(self, connection: sqlite3.Connection) -> None:
        """Copy what the log holds into the file, as far as readers allow, at most once a second.

        For a connection that does not do it by itself within some caller's commit, and between two of its
        transactions.
        """
        now = time.monotonic()
        if now >= self._copy_at:
            self._copy_at = now + _COPY_EVERY_SECONDS
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def empty(self) -> None:
        """Bring all of the log into the file itself, unless others are in it."""
        with suppress(sqlite3.Error):
            self._empty(seconds=_EMPTYING_SECONDS)

    def _empty(self, *, seconds: float) -> None:
        connection = _open(self._path)
        try:
            wait_at_most(connection, seconds)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()


def _open(path: Path) -> sqlite3.Connection:
    _refuse_read_only(path)
    return sqlite3.connect(
        # Never made here: in place of a file that is missing there would be an empty one.
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        # The driver must not open transactions of its own: who uses the connection chooses their kind.
        isolation_level=None,
        check_same_thread=False,
        timeout=0,
    )


def _refuse_read_only(path: Path) -> None:
    """Open nothing of which a part may only be read.

    SQLite would open it for reading, and none of the process's later connections could write either, as long
    as one of them is open, whatever is mended meanwhile.
    """
    for part in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if part.exists() and not os.access(part, os.R_OK | os.W_OK):
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
