"""Which schema a database has, and whether this version of Licenzy works with it.

A revision is a migration's name, which begins with its number. Every migration from 0012 on writes the
oldest revision whose code works with what it leaves, so that a version knows of a schema that is newer
than itself whether it may go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Engine, Integer, Table, text
from sqlalchemy.exc import DatabaseError, DBAPIError, MultipleResultsFound

from licenzy.db.engine import file_of, is_out_of_order
from licenzy.db.failures import Failure, failure_of
from licenzy.db.tables import metadata
from licenzy.errors import DatabaseUnavailable

FOLDER = Path(__file__).resolve().parent / "migrations"
"""Where the migrations and their environment stand."""

schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("min_reader", Integer, nullable=False),
)
"""One row: the number of the oldest revision whose code works with this schema."""

write_probe = Table(
    "write_probe",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("written_at", BigInteger, nullable=False),
)
"""One row, which the readiness check writes to learn whether writing works. Microseconds since 1970."""


class Fit(Enum):
    """How the schema of a database stands to this version."""

    CURRENT = "current"
    NEWER_COMPATIBLE = "newer_compatible"
    """A newer version migrated the database, and says that this one still works with it."""
    OUTDATED = "outdated"
    """Migrations of this version are missing; all of them where the database is empty."""
    TOO_NEW = "too_new"
    """A newer version migrated the database, and this one does not work with it."""
    UNKNOWN = "unknown"
    """No version of Licenzy in this line of migrations made it."""


def check(engine: Engine) -> Fit:
    """How the schema stands to this version; OUTDATED where there is none.

    Raises DatabaseUnavailable when the database cannot be opened, and when its file was there and is gone.
    """
    if engine.dialect.name == "sqlite":
        refuse_lost_file(engine)
        if not file_of(engine).exists():
            return Fit.OUTDATED
    with worded_failures(), engine.connect() as connection:
        return fit_of(connection)


def fit_of(connection: Connection) -> Fit:
    """How the schema stands to this version; OUTDATED where there is none.

    Where there is none, Postgres takes no further statement of the transaction.
    """
    revision = revision_of(connection)
    if revision == head():
        return Fit.CURRENT
    if revision is None or revision in _revisions():
        return Fit.OUTDATED
    known = number_of(head())
    if number_of(revision) <= known:
        return Fit.UNKNOWN
    oldest = _read_one(connection, "SELECT min_reader FROM schema_compatibility")
    return Fit.NEWER_COMPATIBLE if oldest is not None and oldest <= known else Fit.TOO_NEW


def revision_of(connection: Connection) -> str | None:
    """The newest migration that the database has had; none where it has had none."""
    revision: str | None = _read_one(connection, "SELECT version_num FROM alembic_version")
    return revision


def misfit_of(fit: Fit) -> Failure | None:
    """Why this version does not work with such a schema, and what to do; none when it does."""
    return _MISFITS.get(fit)


def require(fit: Fit) -> None:
    """Raise DatabaseUnavailable, with what to do, unless this version works with such a schema."""
    misfit = misfit_of(fit)
    if misfit is not None:
        raise DatabaseUnavailable(misfit.message, hint=misfit.hint)


def head() -> str:
    """The newest migration of this version."""
    return _revisions()[-1]


def number_of(revision: str) -> int:
    """The number that a revision begins with; 0 where it begins with none."""
    number = re.match(r"[0-9]+", revision)
    return int(number.group()) if number else 0


def note_of(engine: Engine) -> Path:
    """The empty file that remembers, beside a SQLite database, that there is one."""
    return Path(f"{file_of(engine)}.made")


def refuse_lost_file(engine: Engine) -> None:
    """Not to begin anew in silence where a SQLite file has been lost, or its disk is not there."""
    note, file = note_of(engine), file_of(engine)
    if note.exists() and not file.exists():
        raise DatabaseUnavailable(
            f"The database file {file} existed before and is missing now.",
            hint=f"Restore it, from a backup if necessary. To start with an empty database, delete {note}.",
        )


@contextmanager
def worded_failures() -> Iterator[None]:
    """Tell whoever runs a command why the database cannot be used. Raises DatabaseUnavailable."""
    try:
        yield
    except DatabaseError as error:
        failure = failure_of(error)
        if failure is not None:
            raise DatabaseUnavailable(failure.message, hint=failure.hint) from error
        # Without a statement it was connecting that failed, for an unknown option of the address, say.
        if error.statement is not None and not is_out_of_order(error.orig):
            raise
        reason = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        raise DatabaseUnavailable(
            f"The database cannot be opened: {reason}.",
            hint="Check LICENZY_DATABASE_URL, and that the database runs and accepts this user.",
        ) from error


@cache
def _revisions() -> tuple[str, ...]:
    """The migrations of this version, oldest first, known by their files: Alembic takes longer to ask."""
    return tuple(sorted(path.stem for path in (FOLDER / "versions").glob("[0-9]*.py")))


def _read_one(connection: Connection, statement: str) -> Any:
    """The only value of the only row; none without the row or its table."""
    try:
        return connection.execute(text(statement)).scalar_one_or_none()
    except MultipleResultsFound:  # Somebody wrote there by hand; such a revision nobody knows.
        return ""
    except DBAPIError as error:
        if _is_missing_table(error.orig):
            return None
        raise


def _is_missing_table(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) == "42P01" or str(error).startswith("no such table")


_MISFITS = {
    Fit.OUTDATED: Failure("The database has not been migrated.", "Run `licenzy db upgrade`."),
    Fit.TOO_NEW: Failure(
        "The database is newer than this version of Licenzy.",
        "Install the version that upgraded it, or restore the backup from before the upgrade.",
    ),
    Fit.UNKNOWN: Failure(
        "The database has a schema that no version of Licenzy creates.",
        "Check LICENZY_DATABASE_URL, or restore a backup.",
    ),
}
