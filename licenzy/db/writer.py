"""Short pieces of writing to SQLite, several of them to one commit.

A commit waits for the disk, and the disk takes as long for one call's rows as for those of all calls that
have come meanwhile. So whoever comes first writes for everybody who waits, and each is answered when
all of it is safe. docs/decisions/0010-consuming.md argues it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Engine, event

from licenzy.db import sqlite
from licenzy.db.engine import is_out_of_order
from licenzy.db.line import WritersLine
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline

_MOST_AT_ONCE = 64

T = TypeVar("T")


class _Piece(Generic[T]):
    """One caller's writing, and what has become of it."""

    __slots__ = ("_woken", "ends_at", "error", "leads", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T], ends_at: float) -> None:
        self.work = work
        self.ends_at = ends_at
        self.result: T | None = None
        self.error: BaseException | None = DatabaseUnavailable()
        """Until its commit a piece is refused, whatever happens to who writes for it."""
        self.leads = False
        self._woken = threading.Lock()
        self._woken.acquire()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.ends_at - time.monotonic())

    def wait(self) -> bool:
        """Whether it was woken before the caller's time was up."""
        return self._woken.acquire(timeout=self.seconds_left)

    def wake(self) -> None:
        self._woken.release()


class SqliteWriter:
    """One connection of this process for what its threads write in short pieces."""

    def __init__(
        self, engine: Engine, file: sqlite.DatabaseFile, line: WritersLine, log: sqlite.WriteAheadLog
    ) -> None:
        self._file, self._line, self._log = file, line, log
        self._connection: sqlite3.Connection | None = None
        self._guard = threading.Lock()
        self._waiting: deque[_Piece[Any]] = deque()
        self._led = False
        event.listen(engine, "engine_disposed", lambda _engine: self._forget_connection())

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives, once what it wrote is safe on disk.

        `work` is given a connection whose transaction holds the right to write, and neither commits nor rolls
        back. When it raises, nothing of it stays. It may be run twice, the second time alone: it must touch
        nothing but the connection. Raises DatabaseUnavailable at the caller's deadline, when the commit may
        still be under way.
        """
        piece = _Piece(work, deadline.ends_at())
        with self._guard:
            self._waiting.append(piece)
            piece.leads, self._led = not self._led, True
        if not piece.leads and not piece.wait():
            self._withdraw(piece)
        if piece.leads:
            self._lead(piece)
        # Taken once: a commit that comes to its end at the caller's deadline clears it meanwhile.
        error = piece.error
        if error is not None:
            raise error
        return cast(T, piece.result)

    def begin_anew_after_fork(self) -> None:
        """In a fork's child: leave the connection and whoever waits to the parent."""
        _of_the_parent.append(self._connection)
        self._connection, self._guard = None, threading.Lock()
        self._waiting, self._led = deque(), False

    def _withdraw(self, piece: _Piece[Any]) -> None:
        """Leave before anybody wrote this; who was made the leader at this very moment leads."""
        with self._guard:
            if not piece.leads and piece in self._waiting:
                self._waiting.remove(piece)

    def _lead(self, leader: _Piece[Any]) -> None:
        """Write for everybody who waits, and hand over to one who has come since.

        What fails before anything is written is the leader's alone: the others have time of their own.
        """
        batch: Sequence[_Piece[Any]] = (leader,)
        try:
            with self._line.turn(seconds=leader.seconds_left):
                connection = self._begin(leader)
                batch = self._take()
                self._commit(connection, batch)
        except BaseException as error:
            self._abandon(error)
            if leader.error is not None:
                leader.error = _worded(error)
        finally:
            self._hand_over(leader, batch)

    def _take(self) -> list[_Piece[Any]]:
        with self._guard:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]

    def _hand_over(self, leader: _Piece[Any], batch: Sequence[_Piece[Any]]) -> None:
        with self._guard:
            if leader in self._waiting:
                self._waiting.remove(leader)
            heir = self._waiting[0] if self._waiting else None
            if heir is None:
                self._led = False
            else:
                heir.leads = True
        for each in batch:
            if each is not leader:
                each.wake()
        if heir is not None:
            heir.wake()

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Piece[Any]]) -> None:
        """Commit what is begun with all of the batch in it, or each for itself where one is at fault."""
        written = [each for each in batch if each.seconds_left]
        try:
            for each in written:
                each.result = each.work(connection)
            connection.execute("COMMIT")
        except Exception as error:
            self._abandon(error)
            if len(written) == 1 or is_out_of_order(error):
                for each in written:
                    each.error = _worded(error)
                return
            for each in written:
                self._commit_alone(each)
        else:
            for each in written:
                each.error = None
            self._log.keep_short()

    def _commit_alone(self, piece: _Piece[Any]) -> None:
        try:
            connection = self._begin(piece)
        except Exception as error:
            self._abandon(error)
            piece.error = _worded(error)
        else:
            self._commit(connection, (piece,))

    def _begin(self, piece: _Piece[Any]) -> sqlite3.Connection:
        """The connection, in a transaction that may write."""
        self._file.check()
        if self._connection is None:
            self._connection = self._open()
        sqlite.wait_at_most(self._connection, piece.seconds_left)
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def _open(self) -> sqlite3.Connection:
        return sqlite.open_writing(self._file.path)

    def _abandon(self, error: BaseException) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._forget_connection()
        if is_out_of_order(error) and not sqlite.is_busy(error):
            self._forget_connection()

    def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


_of_the_parent: list[sqlite3.Connection | None] = []
"""Never closed in a fork's child, where SQLite would take itself for the last one to leave the file."""


def _worded(error: BaseException) -> BaseException:
    if not (is_out_of_order(error) or isinstance(error, OSError)):
        return error
    unavailable = DatabaseUnavailable()
    unavailable.__cause__ = error
    return unavailable
