"""The unit of work: a door opens one, hands its session to a verb, and it commits or rolls back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from licenzy.db.engine import WRITES, is_out_of_order
from licenzy.errors import DatabaseUnavailable

_log = logging.getLogger("licenzy.db")


class Database:
    """One database, spoken to in short transactions.

    `read()` and `write()` are context managers giving a session. A write commits when the block ends
    and rolls back when it raises. Both raise DatabaseUnavailable when the database is busy beyond its
    deadline, full, or gone.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._before_close: list[Callable[[], None]] = []

    def before_close(self, stop: Callable[[], None]) -> None:
        """Have `stop` called before the connections go, by what works on them in a thread of its own."""
        self._before_close.append(stop)

    def close(self) -> None:
        """Stop what works beside the requests, then close all connections; for the end of a process."""
        for stop in self._before_close:
            stop()
        self.engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; what a caller changes in it by mistake is never committed."""
        with _worded_failures(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose transaction holds the right to write from its first statement."""
        writer = self.engine.execution_options(**{WRITES: True})
        with _worded_failures(), Session(writer, expire_on_commit=False) as session:
            yield session
            session.commit()


@contextmanager
def _worded_failures() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        _log.error("the database cannot be used: %s", error)
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        if not (error.connection_invalidated or is_out_of_order(error.orig)):
            raise
        _log.error("the database cannot be used: %s", error.orig)
        raise DatabaseUnavailable from error
