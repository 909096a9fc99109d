"""Bringing a database to the schema this version needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DatabaseError

from licenzy.db.engine import WRITES, is_out_of_order, make_engine
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline

MIGRATION_SECONDS = 3600.0
"""How long an upgrade may take, and wait for others: it changes and reads whole tables."""

_FOLDER = Path(__file__).resolve().parent / "migrations"
_LOCK = 7_205_759
"""Any constant: which of Postgres's advisory locks stands for "somebody migrates"."""


def upgrade(engine: Engine) -> None:
    """Run what is missing, all or nothing; callers that come at the same time wait for the first.

    Raises DatabaseUnavailable when the database cannot be opened, or was there once and is gone.
    """
    _refuse_lost_file(engine)
    with deadline.within(MIGRATION_SECONDS), _migrating(engine) as connection:
        command.upgrade(alembic_config(connection), "head")
    if engine.dialect.name == "sqlite":
        _note_of(engine).touch()


def is_current(engine: Engine) -> bool:
    """Whether the database has exactly the schema of this version. Raises DatabaseUnavailable."""
    with _worded_failures(), engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == head()


def head() -> str | None:
    """The newest migration's name."""
    return ScriptDirectory(str(_FOLDER)).get_current_head()


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration without an ini file, working from a checkout and from a wheel."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s")
    config.attributes["connection"] = connection
    return config


def _refuse_lost_file(engine: Engine) -> None:
    """Not to begin anew in silence where a SQLite file has been lost, or its disk is not there."""
    if engine.dialect.name != "sqlite":
        return
    note, file = _note_of(engine), Path(engine.url.database or "")
    if note.exists() and not file.exists():
        raise DatabaseUnavailable(
            f"The database file {file} is missing, although it has been there.",
            hint=f"Put it back, from a backup if need be; to begin anew, delete {note}.",
        )


def _note_of(engine: Engine) -> Path:
    """The empty file that remembers, beside a SQLite database, that there is one."""
    return Path(f"{engine.url.database}.made")


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """One transaction that holds the right to migrate, on an engine of its own."""
    own = make_engine(engine.url, pool_size=1, creates=True)
    if engine.dialect.name == "sqlite":
        event.listen(own, "connect", _without_foreign_keys)
    try:
        with _worded_failures(), own.execution_options(**{WRITES: True}).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection
            if connection.dialect.name == "sqlite":
                _check_foreign_keys(connection)
    finally:
        own.dispose()


def _without_foreign_keys(connection: sqlite3.Connection, _record: Any) -> None:
    # SQLite changes a table by copying it, which its own foreign keys would forbid; the pragma has
    # no effect inside a transaction, so it is set here and the keys are checked before the commit.
    connection.execute("PRAGMA foreign_keys=OFF")


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise RuntimeError(f"the migration would leave {len(broken)} rows pointing nowhere")


@contextmanager
def _worded_failures() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if not is_out_of_order(error.orig):
            raise
        reason = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        raise DatabaseUnavailable(
            f"The database cannot be opened: {reason}.",
            hint="Check LICENZY_DATABASE_URL, and that the database runs and takes this user.",
        ) from error
