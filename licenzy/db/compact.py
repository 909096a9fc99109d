"""Writing a SQLite file anew, so that nothing is left in it of what was deleted or replaced."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from licenzy.db.sqlite import open_writing, wait_at_most
from licenzy.db.unit_of_work import Database, log_failure
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline

_SECONDS = 5.0
"""How long others who read or write are waited for."""


def compact(database: Database) -> None:
    """Write the file anew and empty its log; nobody writes meanwhile. Postgres does so by itself in time.

    Raises DatabaseUnavailable when others do not let it, or the disk has no room for a second file.
    """
    if database.file is None or database.write_lock is None:
        return
    with database.write_lock.acquired(seconds=max(_SECONDS, deadline.seconds_left())):
        try:
            with closing(open_writing(database.file.path)) as connection:
                wait_at_most(connection, _SECONDS)
                connection.execute("VACUUM")
                (is_busy, *_pages) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            log_failure(error)
            raise DatabaseUnavailable from error
    if is_busy:
        raise DatabaseUnavailable
