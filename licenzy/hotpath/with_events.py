"""Consuming in an ordinary unit of work, with the rows of the outbox in the same transaction.

For sides whose endpoints are told of consumption. Off the event loop: it takes several statements more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.consume import Answered, ConsumeRequest, ConsumeResult, decide_batch
from licenzy.hotpath.consume_sql import ConsumeStatements, PostgresStatements, Run, SqliteStatements
from licenzy.kit.clock import from_micros
from licenzy.subjects.queries import subject_by_ref
from licenzy.usage.events import announce_consumed

_TRIES = 5


def consume_with_events(database: Database, request: ConsumeRequest) -> ConsumeResult:
    """Take all the units or none, once per key, and tell of it. Raises DatabaseUnavailable."""
    statements: ConsumeStatements = SqliteStatements() if database.is_sqlite else PostgresStatements()

    def work(db: Session) -> ConsumeResult:
        run = _running(db)
        facts = statements.read(run, [request])
        (result,), writes = decide_batch([request], facts, with_events=True)
        if writes.keys:
            statements.write(run, writes)
        if isinstance(result, Answered) and writes.ledger:
            _announce(db, request, result)
        return result

    for _ in range(_TRIES):
        try:
            return database.retrying(work)
        except IntegrityError:
            continue  # Another call with this key was first: now its outcome is seen.
    raise DatabaseUnavailable


def _announce(db: Session, request: ConsumeRequest, result: Answered) -> None:
    scope = result.key.scope
    subject = subject_by_ref(db, scope, subject_ref=request.subject_ref)
    assert subject is not None
    announce_consumed(
        db,
        scope,
        subject_id=subject.id,
        request_id=request.request_id,
        called_at=from_micros(request.now),
        now=from_micros(result.key.instant(request.now)),
    )


def _running(db: Session) -> Run:
    connection = db.connection()

    def run(statement: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
        result = connection.exec_driver_sql(statement, tuple(parameters))
        return result.all() if result.returns_rows else []

    return run
