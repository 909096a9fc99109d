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
from typing import Any, cast
from urllib.parse import quote

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Dialect, Engine, Select, TextClause, event
from sqlalchemy.dialects.postgresql.base import PGDialect

from licenzy.db.engine import BUSY_TIMEOUT_MS, gave_way, is_out_of_order
from licenzy.errors import DatabaseUnavailable

RETRY_SECONDS = 8.0
"""How long a statement is begun anew when it has to give way to others, before the caller is told 503."""
_log = logging.getLogger("licenzy.db")
_LIBPQ: Dialect = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


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
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(address, autocommit=True, connect_timeout=5)


class PreparedRead:
    """A SELECT with named parameters, ready to run."""

    def __init__(self, connections: ThreadConnections, statement: Select[Any] | TextClause) -> None:
        on_sqlite = connections.engine.dialect.name == "sqlite"
        compiled = statement.compile(
            # libpq, which is spoken to below, numbers parameters; SQLite's driver takes them in order.
            dialect=connections.engine.dialect if on_sqlite else _LIBPQ,
            compile_kwargs={"render_postcompile": True},
        )
        self._connections = connections
        self._sql = str(compiled)
        self._in_order = _picker(compiled.positiontup or ())
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._run = self._on_sqlite if on_sqlite else self._on_postgres
        self._prepared = _Kept()
        self._readers: list[tuple[int, Callable[[bytes], Any]]] | None = None

    def rows(self, **parameters: Any) -> list[Any]:
        """All rows as tuples of the driver's values. Raises DatabaseUnavailable."""
        values = self._constants | parameters if self._constants else parameters
        bound = self._in_order(values)
        for attempt in (1, 2):
            try:
                return self._run(bound)
            except (sqlite3.Error, psycopg.Error) as error:
                if not is_out_of_order(error):
                    raise
                # A connection that died while idle is replaced once; what fails then is really down.
                self._connections.drop()
                if attempt == 2:
                    _log.error("the database cannot be used: %s", error)
                    raise DatabaseUnavailable from error
        raise AssertionError("unreachable")

    def _on_sqlite(self, bound: Sequence[Any]) -> list[Any]:
        found: list[Any] = self._connections.cursor().execute(self._sql, bound).fetchall()
        return found

    def _on_postgres(self, bound: Sequence[Any]) -> list[Any]:
        """Through libpq itself: a cursor of the driver costs more than the statement."""
        connection: psycopg.Connection[Any] = self._connections.get()
        sent = [None if value is None else str(value).encode() for value in bound]
        if not self._connections.prepares:
            return self._read(connection.pgconn.exec_params(self._sql.encode(), sent))
        kept = self._prepared
        if kept.on is not connection:
            self._keep(connection, _FIRST_PLAN_USES)
        elif kept.uses == kept.until:
            self._keep(connection, kept.until * 10)
        kept.uses += 1
        return self._read(connection.pgconn.exec_prepared(kept.name, cast(Any, sent)))

    def _keep(self, connection: psycopg.Connection[Any], until: int) -> None:
        """Have Postgres keep the statement until it was used so often; where it was kept, plan it anew.

        What is kept is planned for good after a few uses: on a new installation while its tables are all but
        empty, when reading them whole is the cheapest way. It would go on doing so while they fill, until
        they are analyzed a minute or more later.
        """
        # A name that no other statement of the connection has, as long as this one lives.
        name = b"read_%x_%d" % (id(self), until)
        _checked(connection.pgconn.prepare(name, self._sql.encode()))
        kept = self._prepared
        if kept.on is not connection:
            kept.on, kept.uses = connection, 0
        kept.name, kept.until = name, until

    def _read(self, result: PGresult) -> list[Any]:
        """The rows of a result in text form."""
        value = _checked(result).get_value
        if self._readers is None:  # The columns of one statement are of the same types each time.
            kinds = [result.ftype(column) for column in range(result.nfields)]
            self._readers = [(column, _READERS.get(kind, _text)) for column, kind in enumerate(kinds)]
        readers = self._readers
        return [
            tuple([None if (sent := value(row, column)) is None else read(sent) for column, read in readers])
            for row in range(result.ntuples)
        ]


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


_FIRST_PLAN_USES = 20
"""After so many uses a kept statement is planned anew, and again after ten times as many."""


class _Kept(threading.local):
    """The connection of the calling thread that keeps a statement, and what has become of it there."""

    on: object = None
    name = b""
    uses = 0
    until = 0


def _picker(names: Sequence[str]) -> Callable[[dict[str, Any]], Sequence[Any]]:
    """What takes the values of these names out of a dictionary, in their order."""
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda values: [values[name] for name in names]


def _checked(result: PGresult) -> PGresult:
    """The result, when it is one. Raises what Postgres refused as psycopg's errors."""
    if result.status in _DONE:
        return result
    error = error_from_result(result)
    # What is said without a code comes from libpq, whose connection is gone.
    raise error if error.sqlstate else psycopg.OperationalError(str(error))


_DONE = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})
_text = operator.methodcaller("decode")
_READERS: dict[int, Callable[[bytes], Any]] = {
    16: b"t".__eq__,  # boolean
    20: int,  # bigint
    21: int,  # smallint
    23: int,  # integer
}
"""How columns are read, by the number of their type in Postgres; all others are text."""
