"""Faults at the calls that writers to SQLite make of the system and of the driver.

They are put where our code ends: into `fcntl.flock`, `os.open` and the driver's connections. Each fails a
number of calls and is over then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock


def _driver_error(words: str, code: int) -> Callable[[], Exception]:
    def make() -> Exception:
        error = sqlite3.OperationalError(words)
        error.sqlite_errorcode = code
        return error

    return make


LOCKED = _driver_error("database is locked", sqlite3.SQLITE_BUSY)
DISK = _driver_error("disk I/O error", sqlite3.SQLITE_IOERR)
FULL = _driver_error("database or disk is full", sqlite3.SQLITE_FULL)


@dataclass(frozen=True)
class Kind:
    """Which call fails, and how."""

    call: str
    """`lock`, `unlock`, `open`, `connect`, `commit`, or `execute` for every statement."""
    error: Callable[[], BaseException]
    name: str
    ends_transaction: bool = False
    """Whether SQLite rolls back by itself when its commit fails so."""

    def __str__(self) -> str:
        return f"{self.call}: {self.name}"


def _system_error(call: str, number: int) -> Kind:
    return Kind(call, lambda: OSError(number, os.strerror(number)), errno.errorcode[number])


KINDS = [
    *(_system_error("lock", number) for number in (errno.ENOLCK, errno.EIO, errno.EINTR)),
    _system_error("unlock", errno.EIO),
    *(_system_error("open", number) for number in (errno.EMFILE, errno.ENOSPC, errno.EACCES)),
    *(
        Kind(call, error, name, ends_transaction=error is not LOCKED)
        for call in ("connect", "execute", "commit")
        for name, error in (("locked", LOCKED), ("disk I/O", DISK), ("full", FULL))
    ),
    *(Kind(call, MemoryError, "MemoryError") for call in ("lock", "open", "connect", "execute", "commit")),
]


@dataclass
class Fault:
    """Fails some calls of its kind after letting some pass."""

    kind: Kind
    passes: int = 0
    times: int = 1
    seconds: float = 0.0
    """How long a call waits in vain before it fails."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, call: str) -> None:
        """A call of the code under test; raises when it is to fail."""
        if call != self.kind.call:
            return
        with self._guard:
            if self.passes:
                self.passes -= 1
                return
            if not self.times:
                return
            self.times -= 1
        time.sleep(self.seconds)
        raise self.kind.error()

    def end(self) -> None:
        """Let everything pass from now on."""
        with self._guard:
            self.times = 0


@contextmanager
def injected(fault: Fault) -> Iterator[Fault]:
    """Have the calls of this process meet the fault, until the block ends; gives it."""
    flock, open_file, connect = fcntl.flock, os.open, sqlite3.connect

    def faulty_flock(descriptor: Any, operation: int) -> None:
        fault.meet("unlock" if operation & fcntl.LOCK_UN else "lock")
        flock(descriptor, operation)

    def faulty_open(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if str(path).endswith((".next", ".now")):
            fault.meet("open")
        return open_file(path, flags, *args, **options)

    def faulty_connect(*args: Any, **options: Any) -> sqlite3.Connection:
        fault.meet("connect")
        connection: sqlite3.Connection = connect(*args, **options | {"factory": Connection})
        return connection

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, *args: Any) -> Any:
            fault.meet("execute")
            return super().execute(statement, *args)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, statement: str, *args: Any) -> Any:
            if not statement.startswith("PRAGMA busy_timeout"):  # It sets a number and touches no file.
                fault.meet("execute")
            if statement.strip().upper() == "COMMIT":
                self._meet_commit()
            return super().execute(statement, *args)

        def commit(self) -> None:
            self._meet_commit()
            super().commit()

        def _meet_commit(self) -> None:
            try:
                fault.meet("commit")
            except Exception:
                if fault.kind.ends_transaction:
                    self.rollback()
                raise

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(fcntl, "flock", faulty_flock))
        patches.enter_context(mock.patch.object(os, "open", faulty_open))
        for module in (sqlite3, sqlite3.dbapi2):  # Where libraries may take it from.
            patches.enter_context(mock.patch.object(module, "connect", faulty_connect))
        yield fault
