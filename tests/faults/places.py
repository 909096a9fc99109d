"""Where the rows live: one address that is put back to its beginning before every case.

The address stays the same, so that the statements which the parent has compiled serve all its children.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path
from typing import Protocol

import psycopg
from sqlalchemy import make_url

from tests.support.databases import SqliteFiles

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

    def drop(self) -> None:
        """Remove it for good."""


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

    def drop(self) -> None:
        """Its folder goes with it."""

    def _run(self, statement: str) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        connection.execute(statement)
        connection.close()


class PostgresPlace:
    """A database on a server of the tests, cloned."""

    def __init__(self, url: str) -> None:
        self.url = url
        address = make_url(url)
        self._name = str(address.database)
        self._kept: list[str] = []
        self._admin = address.set(database="postgres").render_as_string(hide_password=False)

    def keep(self, name: str) -> None:
        self._kept.append(f"{self._name}_{name}")
        self._clone(self._name, self._kept[-1])

    def reset(self, name: str) -> None:
        self._clone(f"{self._name}_{name}", self._name)

    def refuse(self) -> None:
        self._run(
            self.url,
            f"CREATE OR REPLACE FUNCTION {_TRIGGER}() RETURNS trigger LANGUAGE plpgsql "
            "AS $$ BEGIN RAISE EXCEPTION 'out of order'; END $$",
            f"CREATE OR REPLACE TRIGGER {_TRIGGER} BEFORE INSERT ON entitlements "
            f"FOR EACH ROW EXECUTE FUNCTION {_TRIGGER}()",
        )

    def accept(self) -> None:
        self._run(self.url, f"DROP TRIGGER IF EXISTS {_TRIGGER} ON entitlements")

    def drop(self) -> None:
        for name in self._kept:
            self._run(self._admin, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _clone(self, old: str, new: str) -> None:
        # The backend of a killed client may still be about to notice: it is made to.
        self._run(
            self._admin,
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{old}'",
            f'DROP DATABASE IF EXISTS "{new}" WITH (FORCE)',
            f'CREATE DATABASE "{new}" TEMPLATE "{old}" STRATEGY wal_log',
        )

    def _run(self, url: str, *statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
