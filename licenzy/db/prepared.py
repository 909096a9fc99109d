"""One SELECT, compiled once and run on a connection of the calling thread, for the hottest reads.

SQLAlchemy's own path costs more than the query it runs; here remain the driver and its statement cache.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import psycopg
from sqlalchemy import Engine, Select, event

from licenzy.db.engine import BUSY_TIMEOUT_MS, is_out_of_order
from licenzy.errors import DatabaseUnavailable


class ThreadConnections:
    """A read-only connection in autocommit for every thread that asks, beside the engine's pool.

    Disposing the engine closes them all; none may be in use then.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._local = threading.local()
        self._all: list[Any] = []
        self._guard = threading.Lock()
        event.listen(engine, "engine_disposed", lambda _engine: self.close())

    def get(self) -> Any:
        """The calling thread's connection, opened at its first call."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._open()
            with self._guard:
                self._all.append(connection)
        return connection

    def drop(self) -> None:
        """Forget the calling thread's connection, which is broken; the next call opens another."""
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

    def __init__(self, connections: ThreadConnections, statement: Select[Any]) -> None:
        compiled = statement.compile(
            dialect=connections.engine.dialect, compile_kwargs={"render_postcompile": True}
        )
        self._connections = connections
        self._sql = str(compiled)
        # SQLite's driver takes positions (a name used twice stands twice), psycopg takes names.
        self._positions: Sequence[str] | None = compiled.positiontup
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def rows(self, **parameters: Any) -> list[Any]:
        """All rows as tuples of the driver's values. Raises DatabaseUnavailable."""
        for attempt in (1, 2):
            try:
                return self._run(parameters)
            except (sqlite3.Error, psycopg.Error) as error:
                if not is_out_of_order(error):
                    raise
                # A connection that died while idle is replaced once; what fails then is really down.
                self._connections.drop()
                if attempt == 2:
                    raise DatabaseUnavailable from error
        raise AssertionError("unreachable")

    def _run(self, parameters: dict[str, Any]) -> list[Any]:
        values = self._constants | parameters if self._constants else parameters
        if self._positions is not None:
            bound = [values[name] for name in self._positions]
            rows: list[Any] = self._connections.get().execute(self._sql, bound).fetchall()
            return rows
        found: list[Any] = self._connections.get().execute(self._sql, values).fetchall()
        return found
