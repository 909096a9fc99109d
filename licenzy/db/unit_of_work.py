"""The unit of work: a door opens one, hands its session to a verb, and it commits or rolls back."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from licenzy.db import engine as engines
from licenzy.db.engine import WRITES, gave_way, is_out_of_order
from licenzy.db.line import WritersLine
from licenzy.db.writer import SqliteWriter
from licenzy.errors import DatabaseUnavailable

RETRY_SECONDS = 8.0
"""How long a unit of work is begun anew when it has to give way to others, before the caller is told 503."""

T = TypeVar("T")
_log = logging.getLogger("licenzy.db")


class Database:
    """One database, spoken to in short transactions.

    `read()` and `write()` are context managers giving a session. A write commits when the block ends
    and rolls back when it raises. Both raise DatabaseUnavailable when the database is busy beyond its
    deadline, full, or gone.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**{WRITES: True})
        self.writer: SqliteWriter | None = None
        """Commits what several threads write in short pieces; none on Postgres, which needs no such help."""
        self._line: WritersLine | None = None
        self._before_close: list[Callable[[], None]] = []
        if self.is_sqlite:
            self._line = WritersLine(Path(engine.url.database or ""))
            self.writer = SqliteWriter(engine, self._line)
            event.listen(engine, "engine_disposed", lambda _engine, line=self._line: line.close())

    @property
    def engine(self) -> Engine:
        """What its connections come from."""
        return self._engine

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
        with self._turn(), _worded_failures(), Session(self._writing, expire_on_commit=False) as session:
            yield session
            session.commit()

    def retrying(self, work: Callable[[Session], T]) -> T:
        """What `work` gives in a write transaction of its own, done anew when it has to give way.

        Postgres breaks one of two transactions off that wait for each other, or that cannot both have
        been first. `work` may therefore run several times and must touch nothing but its session. Raises
        DatabaseUnavailable as `write` does, and when it had to give way for RETRY_SECONDS.
        """
        ends_at = time.monotonic() + RETRY_SECONDS
        pause = 0.005
        while True:
            try:
                with self.write() as db:
                    return work(db)
            except DatabaseUnavailable as refused:
                if not gave_way(refused.__cause__) or time.monotonic() + pause > ends_at:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 0.5)

    def _turn(self) -> AbstractContextManager[None]:
        """This writer's turn among those of SQLite; Postgres lets all of them in."""
        return self._line.turn(seconds=engines.BUSY_TIMEOUT_MS / 1000) if self._line else nullcontext()


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
        _log.log(
            logging.INFO if gave_way(error) else logging.ERROR,
            "the database cannot be used: %s",
            error.orig,
        )
        raise DatabaseUnavailable from error
