"""The unit of work: a door opens one, hands its session to a verb, and it commits or rolls back."""

from __future__ import annotations

import logging
import os
import random
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from licenzy.db.breaker import Breaker
from licenzy.db.engine import WRITES, file_of, gave_way, is_lost, is_out_of_order
from licenzy.db.failures import log_unavailable
from licenzy.db.sqlite import DatabaseFile, WriteAheadLog
from licenzy.db.write_lock import FairFileLock
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline
from licenzy.kit.backoff import Backoff, Random

RETRY_SECONDS = 8.0
"""How long a unit of work without a deadline is begun anew when it has to give way to others."""

NAME_KEY = "name_key"
"""Where a session's `info` has the key that names of erased customers are hashed with."""

_BACKOFF = Backoff(first=0.005, longest=0.5, jitter=(0.5, 1.5))

T = TypeVar("T")
_log = logging.getLogger("licenzy.db")


class Database:
    """One database, spoken to in short transactions.

    `read()` and `write()` are context managers giving a session. A write commits when the block ends
    and rolls back when it raises. Both raise DatabaseUnavailable when the database is busy beyond the
    caller's deadline, full, or gone.
    """

    def __init__(self, engine: Engine, *, random: Random = random.random, name_key: str = "") -> None:
        """`name_key` is what the names of erased customers are hashed with; every session carries it."""
        self._engine = engine
        self._info = {NAME_KEY: name_key.encode()}
        self._random = random
        self._writing = engine.execution_options(**{WRITES: True})
        self.breaker: Breaker | None = None
        """Knows whether Postgres is there; none on SQLite, whose file answers at once either way."""
        self.file: DatabaseFile | None = None
        """The file of SQLite; none on Postgres."""
        self.write_lock: FairFileLock | None = None
        """What all writers of the file take first; none on Postgres, which lets all of them in."""
        self.log: WriteAheadLog | None = None
        """The log beside the file; none on Postgres."""
        self._before_close: list[Callable[[], None]] = []
        self._in_fork: list[Callable[[], None]] = []
        if self.is_sqlite:
            self.file = DatabaseFile(file_of(engine))
            self.write_lock, self.log = FairFileLock(self.file.path), WriteAheadLog(self.file.path)
            event.listen(engine, "engine_disposed", lambda _engine, lock=self.write_lock: lock.close())
        else:
            self.breaker = _postgres_breaker(engine)
        _all.add(self)

    @property
    def engine(self) -> Engine:
        """What its connections come from."""
        return self._engine

    def before_close(self, stop: Callable[[], None]) -> None:
        """Have `stop` called before the connections go, by what works on them in a thread of its own."""
        self._before_close.append(stop)

    def in_fork(self, begin_anew: Callable[[], None]) -> None:
        """Have `begin_anew` called in a fork's child, by what has a thread or a connection of its own."""
        self._in_fork.append(begin_anew)

    def close(self) -> None:
        """Stop what works beside the requests, then close all connections; for the end of a process."""
        for stop in self._before_close:
            stop()
        self.engine.dispose()
        if self.log is not None:
            # Who copies the one file of an installation that has stopped has everything.
            self.log.empty()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; what a caller changes in it by mistake is never committed."""
        self.admit()
        with (
            self._worded_failures(),
            Session(self.engine, expire_on_commit=False, info=self._info) as session,
        ):
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose transaction holds the right to write from its first statement."""
        self.admit()
        if self.file is not None:
            self.file.check()
        with (
            self._right_to_write(),
            self._worded_failures(),
            Session(self._writing, expire_on_commit=False, info=self._info) as session,
        ):
            yield session
            try:
                session.commit()
            except Exception as error:
                # The transaction may still be under way: nobody else may have the connection then.
                if not isinstance(error, DBAPIError) or is_out_of_order(error.orig):
                    session.invalidate()
                raise
            if self.log is not None:
                self.log.keep_short()

    def retrying(self, work: Callable[[Session], T]) -> T:
        """What `work` gives in a write transaction of its own, done anew when it has to give way.

        Postgres breaks one of two transactions off that wait for each other, or that cannot both have
        been first. `work` may therefore run several times and must touch nothing but its session. Raises
        DatabaseUnavailable as `write` does, and when it had to give way until the caller's deadline.
        """
        ends_at = min(time.monotonic() + RETRY_SECONDS, deadline.ends_at())
        failures = 0
        while True:
            failures += 1
            pause = _BACKOFF.seconds(failures, self._random)
            try:
                with self.write() as db:
                    return work(db)
            except DatabaseUnavailable as refused:
                if not gave_way(refused.__cause__) or time.monotonic() + pause > ends_at:
                    raise
            time.sleep(pause)

    def admit(self) -> None:
        """Let the caller on. Raises DatabaseUnavailable at once while the database is known to be lost."""
        if self.breaker is not None:
            self.breaker.admit()
        elif self.file is not None:
            self.file.check_now_and_then()

    def failed(self, error: BaseException | None, *, generation: int | None = None) -> None:
        """Take note of a driver's error that was met on a connection of that generation of the breaker's."""
        if self.breaker is not None and is_lost(error):
            self.breaker.lost(generation=generation, was_open=getattr(error, "was_open", True))

    def _right_to_write(self) -> AbstractContextManager[None]:
        lock = self.write_lock
        return lock.acquired(seconds=deadline.seconds_left()) if lock is not None else nullcontext()

    @contextmanager
    def _worded_failures(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            log_failure(error)
            raise DatabaseUnavailable from error
        except DBAPIError as error:
            if not (error.connection_invalidated or is_out_of_order(error.orig)):
                raise
            self.failed(error.orig)
            log_failure(error.orig)
            raise DatabaseUnavailable from error

    def _begin_anew_after_fork(self) -> None:
        """A fork's child leaves the connections of its parent alone and makes its own."""
        for begin_anew in self._in_fork:
            begin_anew()
        if self.breaker is not None:
            self.breaker.begin_anew_after_fork()
        _of_the_parent.append(self.engine.pool)
        self.engine.dispose(close=False)


def log_failure(error: BaseException | None) -> None:
    """Log why a call was refused; what had to give way is no failure of the database's."""
    if gave_way(error):
        _log.info("the database aborted a transaction because of a conflict: %s", error)
    else:
        log_unavailable(error)


def _postgres_breaker(engine: Engine) -> Breaker:
    from licenzy.db import postgres

    breaker = Breaker(lambda: postgres.probe(engine))

    @event.listens_for(engine, "connect")
    def note_generation(_connection: object, record: Any) -> None:
        record.info["generation"] = breaker.generation

    @event.listens_for(engine, "checkout")
    def compare_generation(_connection: object, record: Any, _proxy: object) -> None:
        if record.info["generation"] != breaker.generation:
            raise InvalidatePoolError("the database was lost after this connection was opened")

    return breaker


_all: weakref.WeakSet[Database] = weakref.WeakSet()
_of_the_parent: list[object] = []
"""Kept for ever in a fork's child, so that nothing of it is closed there."""


def _begin_anew_after_fork() -> None:
    for each in list(_all):
        each._begin_anew_after_fork()


os.register_at_fork(after_in_child=_begin_anew_after_fork)
