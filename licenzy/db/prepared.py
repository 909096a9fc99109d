"""One SELECT, compiled once and run on a connection of the calling thread, for the hottest reads.

SQLAlchemy's own path costs more than the query it runs; here remain the driver and its statement cache.
"""

from __future__ import annotations

import contextlib
import operator
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Dialect, Engine, Select, TextClause, event
from sqlalchemy.sql.compiler import SQLCompiler

from licenzy.db import sqlite
from licenzy.db.breaker import Breaker
from licenzy.db.engine import file_of, gave_way, is_cut_off, is_lost, is_out_of_order, ran_out_of_time
from licenzy.db.unit_of_work import Database, log_failure, retrying_ends_at
from licenzy.errors import DatabaseUnavailable
from licenzy.kit.per_thread import PerThread


class ThreadConnections:
    """A connection in autocommit for every thread that asks, beside the engine's pool, until the thread ends.

    On SQLite it only reads, since writers stand in line (`db/line.py`). Disposing the engine closes them
    all; none may be in use then.
    """

    def __init__(self, database: Database, *, prepares: bool = True) -> None:
        self.database, self.engine = database, database.engine
        self.prepares = prepares
        """Whether Postgres may be asked to keep statements; some connection poolers lose them."""
        self._threads = PerThread(self._open, _Open.close)
        event.listen(self.engine, "engine_disposed", lambda _engine: self.close())

    def get(self) -> Any:
        """The calling thread's connection, opened at its first call and when the one it had is of no use."""
        return self._mine().connection

    def cursor(self) -> Any:
        """A cursor of the calling thread's connection, used again and again."""
        mine = self._mine()
        if mine.cursor is None:
            mine.cursor = mine.connection.cursor()
        return mine.cursor

    def drop(self) -> _Open | None:
        """Close the calling thread's broken connection, if it has one; the next call opens another."""
        return self._threads.drop()

    def _mine(self) -> _Open:
        mine = self._threads.get()
        if mine.is_stale():
            self._threads.drop()
            mine = self._threads.get()
        return mine

    def close(self) -> None:
        """Close the connections of all threads."""
        self._threads.close()

    def _open(self) -> _Open:
        breaker = self.database.breaker
        if breaker is None:
            return _Open(sqlite.open_reading(file_of(self.engine)))
        return _OpenPostgres(self.engine, breaker)


class _Open:
    """One thread's connection."""

    generation: int | None = None
    """Which of the breaker's it is of, on Postgres."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.cursor: Any = None

    def is_stale(self) -> bool:
        """Whether what it leads to has been lost since it was opened."""
        return False

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.connection.close()


class _OpenPostgres(_Open):
    """A connection to Postgres."""

    def __init__(self, engine: Engine, breaker: Breaker) -> None:
        from licenzy.db import postgres

        self._breaker, self.generation = breaker, breaker.generation
        try:
            super().__init__(postgres.connect_with_limits(postgres.parameters_of(engine)))
        except Exception as error:
            if is_lost(error):
                breaker.lost(generation=self.generation, was_open=False)
            raise

    def is_stale(self) -> bool:
        return self.generation != self._breaker.generation


class PreparedRead:
    """A SELECT with named parameters, ready to run."""

    def __init__(self, connections: ThreadConnections, statement: Select[Any] | TextClause) -> None:
        self._connections = connections
        if connections.engine.dialect.name == "sqlite":
            compiled = _compiled(statement, connections.engine.dialect)
            self._run = self._on_sqlite
        else:
            from licenzy.db import libpq

            compiled = _compiled(statement, libpq.DIALECT)
            self._run = libpq.Statement(str(compiled), connections.get, prepares=connections.prepares).rows
        self._sql = str(compiled)
        self._in_order = _picker(compiled.positiontup or ())
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def rows(self, **parameters: Any) -> list[Any]:
        """All rows as tuples of the driver's values. Raises DatabaseUnavailable."""
        database = self._connections.database
        database.admit()
        values = self._constants | parameters if self._constants else parameters
        bound = self._in_order(values)
        replaced = False
        while True:
            try:
                return self._run(bound)
            except Exception as error:
                if not is_out_of_order(error):
                    raise
                if is_cut_off(error) and not sqlite.is_busy(error):
                    # A connection that died while idle is replaced once; what fails then is really down,
                    # and so is what did not answer in time.
                    dropped = self._connections.drop()
                    if dropped is not None and not replaced and not ran_out_of_time(error):
                        replaced = True
                        continue
                    if dropped is not None:
                        database.failed(error, generation=dropped.generation)
                log_failure(error)
                raise DatabaseUnavailable from error

    def _on_sqlite(self, bound: Sequence[Any]) -> list[Any]:
        found: list[Any]
        try:
            found = self._connections.cursor().execute(self._sql, bound).fetchall()
        except sqlite3.OperationalError as error:
            if not sqlite.is_busy(error):
                raise
            found = sqlite.reading(lambda: self._connections.cursor().execute(self._sql, bound).fetchall())
        return found


class PreparedChange(PreparedRead):
    """A statement that writes on Postgres, a transaction by itself, and is safe to run again.

    What had to give way to another transaction is done anew for a while.
    """

    def rows(self, **parameters: Any) -> list[Any]:
        """What the statement returns. Raises DatabaseUnavailable."""
        ends_at = retrying_ends_at()
        while True:
            try:
                return super().rows(**parameters)
            except DatabaseUnavailable as refused:
                if not gave_way(refused.__cause__) or time.monotonic() > ends_at:
                    raise
            time.sleep(random.uniform(0.002, 0.01))


def _compiled(statement: Select[Any] | TextClause, dialect: Dialect) -> SQLCompiler:
    return statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})


def _picker(names: Sequence[str]) -> Callable[[dict[str, Any]], Sequence[Any]]:
    """What takes the values of these names out of a dictionary, in their order."""
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda values: [values[name] for name in names]
