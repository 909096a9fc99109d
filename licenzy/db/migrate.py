"""Bringing a database to the schema this version needs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, event, text

from licenzy.db.engine import WRITES, file_of, make_engine
from licenzy.db.schema import (
    FOLDER,
    Fit,
    fit_of,
    head,
    note_of,
    refuse_lost_file,
    require,
    revision_of,
    worded_failures,
)
from licenzy.db.statistics import write_statistics
from licenzy.errors import DatabaseUnavailable
from licenzy.kit import deadline

MIGRATION_SECONDS = 3600.0
"""How long an upgrade may take, and wait for others: it changes and reads whole tables."""

_LOCK = 7_205_759
"""Any constant: which of Postgres's advisory locks stands for "somebody migrates"."""


class Upgraded(NamedTuple):
    """What a database is at after an upgrade."""

    revision: str
    is_newer: bool
    """Whether a newer version had migrated it, so that there was nothing to do."""


def upgrade(engine: Engine) -> Upgraded:
    """Run what is missing, all or nothing; callers that come at the same time wait for the first.

    Raises DatabaseUnavailable when the database cannot be opened or written to, when it is too new for this
    version, and when its file was there once and is gone.
    """
    if engine.dialect.name == "sqlite":
        refuse_lost_file(engine)
        _make_file(file_of(engine))
    with deadline.within(MIGRATION_SECONDS), _migrating(engine) as connection:
        # Asked first, since Postgres breaks a transaction off that reads from a table it does not have.
        is_empty = not connection.dialect.has_table(connection, "alembic_version")
        fit = Fit.OUTDATED if is_empty else fit_of(connection)
        if fit is Fit.OUTDATED:
            command.upgrade(alembic_config(connection), "head")
            if engine.dialect.name == "sqlite":
                write_statistics(connection)
        else:
            require(fit)
        revision = revision_of(connection) or head()
    if engine.dialect.name == "sqlite":
        _make_file(note_of(engine))
    return Upgraded(revision, is_newer=fit is Fit.NEWER_COMPATIBLE)


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration without an ini file, working from a checkout and from a wheel."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s")
    config.attributes["connection"] = connection
    return config


def _make_file(path: Path) -> None:
    """An empty file that nobody else may read, unless there is one. Raises DatabaseUnavailable."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise DatabaseUnavailable(
            f"The file {path} cannot be created: {error.strerror}.",
            hint="Allow the user that runs Licenzy to write to its folder.",
        ) from error


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """One transaction that holds the right to migrate, on an engine of its own."""
    own = make_engine(engine.url, pool_size=1)
    if engine.dialect.name == "sqlite":
        event.listen(own, "connect", _without_foreign_keys)
    try:
        with worded_failures(), own.execution_options(**{WRITES: True}).begin() as connection:
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
        raise RuntimeError(f"the migration would leave {len(broken)} rows that refer to missing rows")
