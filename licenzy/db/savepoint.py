"""A part of a transaction that can fail alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlmodel import Session


@contextmanager
def savepoint(db: Session) -> Iterator[None]:
    """Undo what is written inside when it raises; what the transaction wrote before stands.

    For what leaves no objects behind in the session, which knows nothing of it. The savepoint is not
    released: the transaction's end does that, and another one may be made within it. One of the session's
    own, made and released, takes as long as five reads.
    """
    db.flush()
    connection = db.connection()
    connection.exec_driver_sql("SAVEPOINT part")
    try:
        yield
        db.flush()
    except Exception:
        if not connection.invalidated:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT part")
        raise
