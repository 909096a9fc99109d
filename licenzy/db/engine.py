"""Engines: what every connection of either database is told before it is used."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for its turn, or for a row on Postgres, before the caller is told 503."""

WRITES = "licenzy_writes"
"""Execution option of connections whose transaction may write."""

_GAVE_WAY = {"40001", "40P01"}
"""Postgres's codes for a serialization failure and a deadlock."""


def make_engine(url: str | URL, *, pool_size: int = 10, prepares: bool = True) -> Engine:
    """An engine for a `sqlite:///…` or `postgresql://…` address.

    Without `prepares` Postgres is never asked to keep a statement for a connection.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite_engine(address, pool_size)
    if address.get_backend_name() == "postgresql":
        return _postgres_engine(address, pool_size, prepares)
    raise ValueError("LICENZY_DATABASE_URL must be a sqlite:/// or postgresql:// address.")


def is_out_of_order(error: BaseException | None) -> bool:
    """Whether a driver's error says that the database is at fault and not the statement."""
    # By the name that PEP 249 gives it in every driver: psycopg is imported only where it is used.
    down = any(kind.__name__ == "OperationalError" for kind in type(error).__mro__)
    # The bare class is what SQLite's driver raises for a damaged file, and for nothing else.
    return down or type(error) is sqlite3.DatabaseError


def is_cut_off(error: BaseException) -> bool:
    """Whether the connection may be gone, and not only a statement refused.

    Postgres says so by a code; without one the words come from a driver that reaches no database.
    """
    code: str | None = getattr(error, "sqlstate", None)
    return code is None or code.startswith(("08", "57P"))


def gave_way(error: BaseException | None) -> bool:
    """Whether Postgres broke a transaction off for another's sake, so that it can be done anew."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None) in _GAVE_WAY


def prepare_sqlite(connection: sqlite3.Connection) -> None:
    """Tell a connection what every writer to SQLite must know."""
    # The driver must not open transactions of its own: who uses the connection chooses their kind.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # An acknowledged commit survives power loss, not only a crash.
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_engine(address: URL, pool_size: int) -> Engine:
    engine = create_engine(
        address,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=BUSY_TIMEOUT_MS / 1000,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        prepare_sqlite(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer fails at once with "database is locked",
        # whatever the busy timeout says; asking for the write lock first waits in line instead.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres_engine(address: URL, pool_size: int, prepares: bool) -> Engine:
    # A driver that is told no threshold takes its own; none at all switches preparing off.
    unprepared: dict[str, Any] = {} if prepares else {"prepare_threshold": None}
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=BUSY_TIMEOUT_MS / 1000,
        pool_pre_ping=True,
        use_native_hstore=False,  # No column is one; the driver would ask the database about it.
        connect_args={"connect_timeout": 5, **unprepared},
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Within the transaction only: behind a transaction pooler a session belongs to nobody.
        if connection.get_execution_options().get(WRITES, False):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {BUSY_TIMEOUT_MS}")

    return engine
