"""Snapshots on SQLite: one connection of the loop's thread, one statement at a time, never waiting."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from licenzy.db import sqlite
from licenzy.db.engine import file_of, is_out_of_order
from licenzy.db.unit_of_work import Database, log_failure
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.snapshot import SQLITE_STATEMENT, SubjectSnapshot, snapshot_of


class SqliteSnapshots:
    """A connection that can only read. It reads within the loop's thread, which a point query takes less
    time of than handing it to another."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cursor: sqlite3.Cursor | None = None

    async def read(self, key_hash: str, subject_ref: str, *, ends_at: float) -> SubjectSnapshot | None:
        """See `SnapshotReader`. None while the file is locked by others."""
        self._database.admit()
        try:
            # Fetched to the end: a statement that is left open would keep the log from being emptied.
            return snapshot_of(self._opened().execute(SQLITE_STATEMENT, (key_hash, subject_ref)).fetchall())
        except Exception as error:
            if sqlite.is_busy(error):
                return None
            if not is_out_of_order(error):
                raise
            # Opened anew by the next caller, should the file be mended by then.
            self._close()
            log_failure(error)
            raise DatabaseUnavailable from error

    async def close(self) -> None:
        self._close()

    def _opened(self) -> sqlite3.Cursor:
        if self._cursor is None:
            self._cursor = sqlite.open_reading(file_of(self._database.engine)).cursor()
        return self._cursor

    def _close(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(sqlite3.Error):
                cursor.connection.close()
