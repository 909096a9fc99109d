"""Batches of short writes on SQLite: under the fair lock, in one `BEGIN IMMEDIATE` to one commit."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from licenzy.db import sqlite
from licenzy.db.engine import is_out_of_order
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.consume_sql import Run
from licenzy.hotpath.pending_write import PendingWrite, log_refusal

R = TypeVar("R")
T = TypeVar("T")


class SqliteBatches(Generic[R, T]):
    """One connection of the committer's.

    `work` is given what runs statements and the requests of a batch, and gives a result for each; it may be
    run twice for the same request, the second time alone.
    """

    def __init__(self, database: Database, work: Callable[[Run, Sequence[R]], Sequence[T]]) -> None:
        assert database.file is not None
        assert database.write_lock is not None
        assert database.log is not None
        self._file, self._lock, self._log = database.file, database.write_lock, database.log
        self._work = work
        self._connection: sqlite3.Connection | None = None

    def right_to_write(self, seconds: float) -> AbstractContextManager[None]:
        return self._lock.acquired(seconds=seconds)

    def commit(
        self,
        batch: Sequence[PendingWrite[R, T]],
        answer: Callable[[Sequence[PendingWrite[R, T]]], None],
    ) -> None:
        """One commit for all of it, or one for each where one is at fault."""
        try:
            connection = self._begin(max(each.seconds_left for each in batch))
            # Others may have been waited for, until callers had no time left.
            batch = [each for each in batch if each.is_wanted]
            results = self._work(_running(connection), [each.request for each in batch])
            connection.execute("COMMIT")
        except Exception as error:
            self._abandon(error)
            if len(batch) > 1 and not is_out_of_order(error) and not isinstance(error, DatabaseUnavailable):
                for each in batch:
                    if each.is_wanted:
                        self.commit((each,), answer)
                return
            log_refusal(error)
            for each in batch:
                each.fail(error)
            answer(batch)
            return
        for each, result in zip(batch, results, strict=True):
            each.succeed(result)
        answer(batch)
        self._log.keep_short()

    def tidy(self) -> None:
        if self._connection is not None:
            self._log.copy_now_and_then(self._connection)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def begin_anew(self) -> None:
        _of_the_parent.append(self._connection)
        self._connection = None

    def _begin(self, seconds: float) -> sqlite3.Connection:
        """The connection, in a transaction that may write."""
        self._file.check()
        if self._connection is None:
            self._connection = self._open()
        sqlite.wait_at_most(self._connection, seconds)
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite.open_writing(self._file.path)
        # The log is copied after callers were answered (`tidy`), and not within one of their commits.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    def _abandon(self, error: BaseException) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except Exception:
            self.close()
        if is_out_of_order(error) and not sqlite.is_busy(error):
            self.close()


def _running(connection: sqlite3.Connection) -> Run:
    def run(statement: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
        return connection.execute(statement, parameters).fetchall()

    return run


_of_the_parent: list[sqlite3.Connection | None] = []
"""Never closed in a fork's child, where SQLite would take itself for the last one to leave the file."""
