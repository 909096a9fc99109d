"""Where the rows live: one address that is put back to its beginning before every case.

The address stays the same, so that the statements which the parent has compiled serve all its children.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.support.databases import SqliteFiles
from tests.support.emptying import take_rows_away

_TRIGGER = "out_of_order"


class Place(Protocol):
    """A database of its own for one campaign."""

    url: str

    def keep(self, name: str) -> None:
        """Remember the rows as they are now, while nobody is connected."""

    def reset(self, name: str) -> None:
        """Put back what was kept under this name, while nobody is connected."""

    def refuse(self) -> None:
        """Let the database refuse new entitlements."""

    def accept(self) -> None:
        """Let it take them again."""


class SqlitePlace:
    """A file, copied."""

    def __init__(self, folder: Path) -> None:
        self.url = SqliteFiles(folder).fresh(folder)
        self._path = Path(self.url.removeprefix("sqlite:///"))
        self._kept = folder

    def keep(self, name: str) -> None:
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(self._path, self._kept / f"{name}.kept")

    def reset(self, name: str) -> None:
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self._kept / f"{name}.kept", self._path)

    def refuse(self) -> None:
        self._run(
            f"CREATE TRIGGER IF NOT EXISTS {_TRIGGER} BEFORE INSERT ON entitlements "
            "BEGIN SELECT RAISE(ABORT, 'out of order'); END"
        )

    def accept(self) -> None:
        self._run(f"DROP TRIGGER IF EXISTS {_TRIGGER}")

    def allow_doubles(self) -> None:
        """Take away the constraint that a fact is told once, while there is none."""
        connection = sqlite3.connect(self._path, isolation_level=None)
        ((made,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'facts'")
        made, times = re.subn(r",\s*CONSTRAINT \w+ UNIQUE \([^)]*\)", "", made)
        assert times == 1, "the facts have another constraint"
        connection.execute("DROP TABLE facts")
        connection.execute(made)
        connection.close()

    def _run(self, statement: str) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        connection.execute(statement)
        connection.close()


class PostgresPlace:
    """A database on a server of the tests: its rows are taken out, and written back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._kept: dict[str, list[tuple[str, bytes]]] = {}
        self._counted: dict[str, list[tuple[Any, ...]]] = {}

    def keep(self, name: str) -> None:
        with self._connected() as connection:
            tables = [table for (table,) in connection.execute(_WRITTEN)]
            self._kept[name] = [(table, _copied(connection, table)) for table in tables]
            self._counted[name] = connection.execute(_COUNTED).fetchall()

    def reset(self, name: str) -> None:
        with self._connected() as connection:
            # The backend of a killed client may still be about to notice: it is made to.
            connection.execute(_LEFT_OVER)
            connection.execute(_ACCEPT)
            with connection.transaction():
                take_rows_away(connection)
                # Without triggers the order of the tables is of no importance.
                connection.execute("SET LOCAL session_replication_role = replica")
                for table, rows in self._kept[name]:
                    with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                        copy.write(rows)
                for counted in self._counted[name]:
                    connection.execute("SELECT setval(%s::regclass, %s, %s)", counted)

    def refuse(self) -> None:
        with self._connected() as connection:
            connection.execute(
                f"CREATE OR REPLACE FUNCTION {_TRIGGER}() RETURNS trigger LANGUAGE plpgsql "
                "AS $$ BEGIN RAISE EXCEPTION 'out of order'; END $$".encode()
            )
            connection.execute(
                f"CREATE OR REPLACE TRIGGER {_TRIGGER} BEFORE INSERT ON entitlements "
                f"FOR EACH ROW EXECUTE FUNCTION {_TRIGGER}()".encode()
            )

    def accept(self) -> None:
        with self._connected() as connection:
            connection.execute(_ACCEPT)

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True)


def _copied(connection: psycopg.Connection[Any], table: str) -> bytes:
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
        return b"".join(bytes(piece) for piece in copy)


_ACCEPT = f"DROP TRIGGER IF EXISTS {_TRIGGER} ON entitlements".encode()
_LEFT_OVER = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_WRITTEN = """
    SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind = 'r' AND relname NOT IN ('alembic_version', 'schema_compatibility')
    AND pg_relation_size(oid) > 0
"""
_COUNTED = """
    SELECT quote_ident(sequencename), coalesce(last_value, start_value), last_value IS NOT NULL
    FROM pg_sequences
"""
