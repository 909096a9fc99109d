"""Short pieces of writing to SQLite, several of them to one commit.

A commit waits for the disk, and the disk takes as long for one call's rows as for those of all calls that
have come meanwhile. So whoever comes first writes for everybody who waits, and each is answered when
all of it is safe. docs/decisions/0010-consuming.md argues it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine, event

from licenzy.db import engine as engines
from licenzy.db.engine import is_out_of_order, prepare_sqlite
from licenzy.db.line import WritersLine
from licenzy.errors import DatabaseUnavailable

_MOST_AT_ONCE = 64

T = TypeVar("T")


class _Piece(Generic[T]):
    """One caller's writing, and what has become of it."""

    __slots__ = ("_woken", "done", "error", "leads", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self.result: T
        self.leads = self.done = False
        self.error: Exception = DatabaseUnavailable()
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self) -> None:
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class SqliteWriter:
    """One connection of this process for what its threads write in short pieces."""

    def __init__(self, engine: Engine, line: WritersLine) -> None:
        self._engine, self._line = engine, line
        self._connection: sqlite3.Connection | None = None
        self._guard = threading.Lock()
        self._waiting: deque[_Piece[Any]] = deque()
        self._led = False
        event.listen(engine, "engine_disposed", lambda _engine: self._forget_connection())

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives, once what it wrote is safe on disk.

        `work` is given a connection whose transaction holds the right to write, and neither commits nor rolls
        back. When it raises, nothing of it stays. It may be run twice, the second time alone: it must touch
        nothing but the connection. Raises DatabaseUnavailable.
        """
        piece = _Piece(work)
        with self._guard:
            self._waiting.append(piece)
            piece.leads, self._led = not self._led, True
        if not piece.leads:
            piece.wait()
        if piece.leads:
            self._lead()
        if not piece.done:
            raise piece.error
        result: T = piece.result
        return result

    def _lead(self) -> None:
        """Write for everybody who waits, oneself among them, and hand over to one who has come since."""
        batch: list[_Piece[Any]] = []
        try:
            with self._line.turn(seconds=engines.BUSY_TIMEOUT_MS / 1000):
                batch = self._take()
                self._commit(batch)
        except DatabaseUnavailable as error:
            batch = batch or self._take()
            for each in batch:
                each.error = error
        finally:
            with self._guard:
                heir = self._waiting[0] if self._waiting else None
                if heir is None:
                    self._led = False
                else:
                    heir.leads = True
            for each in batch[1:]:
                each.wake()
            if heir is not None:
                heir.wake()

    def _take(self) -> list[_Piece[Any]]:
        with self._guard:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]

    def _commit(self, batch: list[_Piece[Any]]) -> None:
        try:
            connection = self._begin()
            for each in batch:
                each.result = each.work(connection)
            connection.execute("COMMIT")
            for each in batch:
                each.done = True
        except Exception as error:
            self._abandon(error)
            if len(batch) == 1:
                batch[0].error = _worded(error)
                return
            # One of them is at fault, perhaps: each for itself, so that it harms no other.
            for each in batch:
                self._commit([each])

    def _begin(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            str(self._engine.url.database), check_same_thread=False, timeout=engines.BUSY_TIMEOUT_MS / 1000
        )
        prepare_sqlite(connection)
        return connection

    def _abandon(self, error: Exception) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                self._connection.execute("ROLLBACK")
        if is_out_of_order(error):
            self._forget_connection()

    def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _worded(error: Exception) -> Exception:
    if not is_out_of_order(error):
        return error
    unavailable = DatabaseUnavailable()
    unavailable.__cause__ = error
    return unavailable
