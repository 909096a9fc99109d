"""What a driver's error means for who operates the database, told without the driver's own words.

Those may hold addresses and names, and some answers are read by anybody.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError

from licenzy.kit.repeats import Repeats

_log = logging.getLogger("licenzy.db")
_logged = Repeats(10.0)


def log_unavailable(reason: object) -> None:
    """Log why the database cannot be used; the same reason once in ten seconds, with its count."""
    if times := _logged.due(str(reason)):
        _log.error("the database cannot be used: %s%s", reason, f" ({times} times)" if times > 1 else "")


class Failure(NamedTuple):
    """Why the database cannot be used, and what to do about it: a sentence each."""

    message: str
    hint: str


def failure_of(error: BaseException) -> Failure | None:
    """What an error, or one that it was raised from, means; none when it is not known."""
    for each in _chain(error):
        if isinstance(each, sqlite3.Error):
            # The lowest byte names the kind; what stands above it says more than is told here.
            code = getattr(each, "sqlite_errorcode", 0) & 0xFF
            return _SQLITE.get(code)
        if (state := getattr(each, "sqlstate", None)) is not None:
            return _POSTGRES.get(state)
        if isinstance(each, OSError) and each.errno is not None:
            return _SYSTEM.get(each.errno)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The driver's error first, then what was raised from it, outermost last."""
    if error is None:
        return
    yield from _chain(error.orig if isinstance(error, DBAPIError) else error.__cause__)
    yield error


_CHECK_RIGHTS = "Allow the user that runs Licenzy to write to the database file and its folder."

DISK_FULL = Failure(
    "The database cannot be written to: the disk is full.", "Free some space on the database's disk."
)
_LOCKED = Failure(
    "The database cannot be written to: another program has locked it.",
    "End the program or the transaction that has the lock.",
)

_READ_ONLY = Failure("The database cannot be written to: its file or folder is read-only.", _CHECK_RIGHTS)
_CANNOT_OPEN = Failure("The database file cannot be opened.", _CHECK_RIGHTS)
_DAMAGED = Failure("The database file is damaged.", "Restore it from a backup.")

_SQLITE = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_IOERR: Failure(
        "The database cannot be written to: the disk reports an error.",
        "Check the database's disk, its quota and the system's log.",
    ),
    sqlite3.SQLITE_CANTOPEN: _CANNOT_OPEN,
    sqlite3.SQLITE_PERM: _CANNOT_OPEN,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}

_POSTGRES = {
    "25006": Failure(
        "The database cannot be written to: Postgres is read-only.",
        "Point LICENZY_DATABASE_URL at the primary server.",
    ),
    "42501": Failure(
        "The database cannot be written to: its user lacks the permission.",
        "Allow the user of LICENZY_DATABASE_URL to write to all tables.",
    ),
    "53100": DISK_FULL,
    "53300": Failure(
        "The database cannot be used: Postgres has no free connections.",
        "Raise its max_connections, or run fewer processes.",
    ),
    "55P03": _LOCKED,
}

_SYSTEM = {
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
}
"""Of the files beside a SQLite database, which Licenzy opens itself."""
