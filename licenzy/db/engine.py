"""Engines: what every connection of either database is told before it is used."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

from licenzy.db import sqlite
from licenzy.kit import deadline

WRITES = "licenzy_writes"
"""Execution option of connections whose transaction may write."""

_POOL_SECONDS = 2.0
"""How long a connection of the pool is waited for: there are as many as threads, and as many again."""
_IDLE_SECONDS = 0.9
"""After which part of the caller's time Postgres ends what it waits for, so that it can still say so."""
_LEAST_MILLISECONDS = 100
_READ_ONLY = "25006"
"""Postgres's code for writing where nothing can be written: on a standby, or on what was the primary."""
_GAVE_WAY = {"40001", "40P01"}
"""Postgres's codes for a serialization failure and a deadlock."""


def make_engine(url: str | URL, *, pool_size: int = 10, prepares: bool = True) -> Engine:
    """An engine for a `sqlite:///…` or `postgresql://…` address.

    Without `prepares` Postgres is never asked to keep a statement for a connection. A SQLite file must be
    there: none is made.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite_engine(address, pool_size)
    if address.get_backend_name() == "postgresql":
        return _postgres_engine(address, pool_size, prepares)
    raise ValueError("LICENZY_DATABASE_URL must be a sqlite:/// or postgresql:// address.")


def file_of(engine: Engine) -> Path:
    """The file of an engine for SQLite."""
    return Path(engine.url.database or "")


def is_out_of_order(error: BaseException | None) -> bool:
    """Whether a driver's error says that the database is at fault and not the statement."""
    # By the name that PEP 249 gives it in every driver: psycopg is imported only where it is used.
    down = any(kind.__name__ == "OperationalError" for kind in type(error).__mro__)
    # The bare class is what SQLite's driver raises for a damaged file, and for nothing else.
    damaged = type(error) is sqlite3.DatabaseError
    return down or damaged or getattr(error, "sqlstate", None) == _READ_ONLY


def is_cut_off(error: BaseException | None) -> bool:
    """Whether the connection may be gone, and not only a statement refused.

    Postgres says so by a code; without one the words come from a driver that reaches no database.
    """
    code: str | None = getattr(error, "sqlstate", None)
    return code is None or code.startswith(("08", "57P"))


def is_lost(error: BaseException | None) -> bool:
    """Whether a failure on Postgres speaks of the server: gone, refusing, or silent for too long."""
    silent_too_long: bool = getattr(error, "is_silence", True)
    return is_out_of_order(error) and is_cut_off(error) and silent_too_long


def ran_out_of_time(error: BaseException | None) -> bool:
    """Whether Postgres did not answer until the caller's deadline (`postgres.NoAnswer`)."""
    return hasattr(error, "is_silence")


def gave_way(error: BaseException | None) -> bool:
    """Whether Postgres broke a transaction off for another's sake, so that it can be done anew."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None) in _GAVE_WAY


def _sqlite_engine(address: URL, pool_size: int) -> Engine:
    path = Path(address.database or "")
    engine = create_engine(
        address,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=_POOL_SECONDS,
        creator=lambda: sqlite.open_writing(path),
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(sqlite.waiting_at_most(deadline.seconds_left()))
        # A deferred transaction that turns into a writer fails at once with "database is locked",
        # whatever the busy timeout says; asking for the write lock first waits in line instead.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres_engine(address: URL, pool_size: int, prepares: bool) -> Engine:
    from licenzy.db import postgres

    # A driver that is told no threshold takes its own; none at all switches preparing off.
    unprepared: dict[str, Any] = {} if prepares else {"prepare_threshold": None}
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=_POOL_SECONDS,
        pool_pre_ping=True,
        use_native_hstore=False,  # No column is one; the driver would ask the database about it.
        connect_args=unprepared,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> Any:
        return postgres.connect(parameters)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Within the transaction only: behind a transaction pooler a session belongs to nobody.
        milliseconds = max(int(deadline.seconds_left() * 1000 * _IDLE_SECONDS), _LEAST_MILLISECONDS)
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = {milliseconds}; SET LOCAL statement_timeout = {milliseconds}"
        )
        driver: Any = connection.connection.dbapi_connection
        driver.note_statement_timeout(milliseconds)

    return engine
