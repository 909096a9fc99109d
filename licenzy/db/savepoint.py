"""A part of a transaction that can fail alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from licenzy.errors import DatabaseUnavailable


@contextmanager
def savepoint(db: Session) -> Iterator[None]:
    """Undo what is written inside when it raises; what the transaction wrote before stands.

    For what leaves no objects behind in the session, which knows nothing of it. The savepoint is not
    released: the transaction's end does that, and another one may be made within it. One of the session's
    own, made and released, takes as long as five reads.

    Raises DatabaseUnavailable where that cannot be done, for then the whole transaction is gone: SQLite
    ends it by itself when the disk fails or is full.
    """
    db.flush()
    connection = db.connection()
    connection.exec_driver_sql("SAVEPOINT part")
    try:
        yield
        db.flush()
    except Exception:
        if not connection.invalidated:
            _undo(connection)
        raise


def _undo(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT part")
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        raise DatabaseUnavailable from error
