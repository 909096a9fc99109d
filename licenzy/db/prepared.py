"""One SELECT, compiled once and run on a connection of the calling thread, for the hottest reads.

SQLAlchemy's own path costs more than the query it runs; here remain the driver and its statement cache.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import Dialect, Engine, Select, TextClause, event
from sqlalchemy.sql.compiler import SQLCompiler

from licenzy.db.engine import BUSY_TIMEOUT_MS, gave_way, is_cut_off, is_out_of_order
from licenzy.errors import DatabaseUnavailable

RETRY_SECONDS = 8.0
"""How long a statement is begun anew when it has to give way to others, before the caller is told 503."""
_log = logging.getLogger("licenzy.db")


class ThreadConnections:
    """A connection in autocommit for every thread that asks, beside the engine's pool.

    On SQLite it only reads, since writers stand in line (`db/line.py`). Disposing the engine closes them
    all; none may be in use then.
    """

    def __init__(self, engine: Engine, *, prepares: bool = True) -> None:
        self.engine = engine
        self.prepares = prepares
        """Whether Postgres may be asked to keep statements; some connection poolers lose them."""
        self._local = threading.local()
        self._all: list[Any] = []
        self._guard = threading.Lock()
        event.listen(engine, "engine_disposed", lambda _engine: self.close())

    def get(self) -> Any:
        """The calling thread's connection, opened at its first call."""
        try:
            return self._local.connection
        except AttributeError:
            connection = self._local.connection = self._open()
            with self._guard:
                self._all.append(connection)
            return connection

    def cursor(self) -> Any:
        """A cursor of the calling thread's connection, used again and again."""
        try:
            return self._local.cursor
        except AttributeError:
            cursor = self._local.cursor = self.get().cursor()
            return cursor

    def drop(self) -> None:
        """Forget the calling thread's connection, which is broken; the next call opens another."""
        self._local.__dict__.pop("cursor", None)
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            with self._guard:
                self._all.remove(connection)
            with contextlib.suppress(Exception):
                connection.close()

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._guard:
            connections, self._all = self._all, []
        self._local = threading.local()
        for connection in connections:
            with contextlib.suppress(Exception):
                connection.close()

    def _open(self) -> Any:
        url = self.engine.url
        if self.engine.dialect.name == "sqlite":
            connection = sqlite3.connect(
                f"file:{quote(url.database or '')}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=BUSY_TIMEOUT_MS / 1000,
            )
            connection.execute("PRAGMA query_only=ON")
            return connection
        from licenzy.db import libpq

        return libpq.connect(url)


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
        values = self._constants | parameters if self._constants else parameters
        bound = self._in_order(values)
        for attempt in (1, 2):
            try:
                return self._run(bound)
            except Exception as error:
                if not is_out_of_order(error):
                    raise
                # A connection that died while idle is replaced once; what fails then is really down.
                if is_cut_off(error):
                    self._connections.drop()
                    if attempt == 1:
                        continue
                level = logging.INFO if gave_way(error) else logging.ERROR
                _log.log(level, "the database cannot be used: %s", error)
                raise DatabaseUnavailable from error
        raise AssertionError("unreachable")

    def _on_sqlite(self, bound: Sequence[Any]) -> list[Any]:
        found: list[Any] = self._connections.cursor().execute(self._sql, bound).fetchall()
        return found


class PreparedChange(PreparedRead):
    """A statement that writes on Postgres, a transaction by itself, and is safe to run again.

    What had to give way to another transaction is done anew for a while.
    """

    def rows(self, **parameters: Any) -> list[Any]:
        """What the statement returns. Raises DatabaseUnavailable."""
        ends_at = time.monotonic() + RETRY_SECONDS
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
