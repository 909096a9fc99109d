"""Whom the units of the default product bring, and who of them comes back.

Such units are free for whoever is new. A backend that sends a new `subject_ref` with every request has them
without end, and each of them is a row of several tables.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, exists, literal
from sqlalchemy import select as core_select
from sqlmodel import Session

from licenzy.alignment.facts import NewSubjects
from licenzy.db.reads import read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import DEFAULT, Entitlement, Purchase
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject
from licenzy.usage.models import LedgerRow

DAY = timedelta(days=1)
FIRST_USE = timedelta(hours=1)
"""How long what somebody new does counts as one visit."""
MOST_READ = 200
"""Pages of the portal read this, so that it takes no more of a day than its last entitlements."""
_EXAMPLES = 3


def new_subjects(db: Session, scope: Scope, *, now: datetime, fixed_at: datetime | None) -> NewSubjects:
    """The new subjects of the 24 hours that ended a day ago, those before `fixed_at` left out.

    New is who was made by a call that drew units of the default product. Who drew any more than an hour later
    has come back, and so has who was sold or given anything; access checks are not recorded. `now` is real
    time, and `scope` knows the offset of its clock.
    """
    until = scope.at(now - DAY)
    since = max(until - DAY, scope.at(fixed_at)) if fixed_at is not None else until - DAY
    rows = _first_draws(db, scope, since=since, until=until)
    gone = [row for row in rows if not row.was_sold and _ended_within(row, FIRST_USE)]
    gone.sort(key=lambda row: row.drew_at, reverse=True)
    return NewSubjects(
        count=len(rows),
        gone=len(gone),
        examples=tuple(row.subject_ref for row in gone[:_EXAMPLES]),
        last_at=max(row.subject_created_at for row in rows) if rows else None,
    )


def _ended_within(row: Any, span: timedelta) -> bool:
    # Both are times of the side, whose clock may run ahead of ours.
    return row.last_used_at is None or bool(row.last_used_at <= row.drew_at + span)


@read_rows
def _first_draws(scope: Scope, *, since: datetime, until: datetime) -> Select[Any]:
    """Those among the last `MOST_READ` entitlements of the time whose subject they made."""
    rows, subjects = table_of(Entitlement).c, table_of(Subject).c
    purchases, ledger = table_of(Purchase), table_of(LedgerRow).c
    last = (
        core_select(rows.subject_id, rows.purchase_key, rows.source, rows.created_at)
        .where(
            rows.project_id == scope.project_id,
            rows.mode == scope.mode,
            rows.created_at > since,
            rows.created_at <= until,
        )
        .order_by(rows.created_at.desc())
        # Part of the text: for a parameter Postgres may plan a tenth of all rows, and read whole tables.
        .limit(literal(MOST_READ, literal_execute=True))
        .subquery()
    )
    last_used_at = (
        core_select(ledger.used_at)
        .where(
            ledger.project_id == scope.project_id,
            ledger.mode == scope.mode,
            ledger.subject_id == last.c.subject_id,
        )
        # By the key, so that one row is read of who has thousands.
        .order_by(ledger.request_id.desc(), ledger.entitlement_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    other = purchases.alias()
    was_sold = exists().where(
        other.c.project_id == scope.project_id,
        other.c.mode == scope.mode,
        other.c.subject_id == last.c.subject_id,
        other.c.key != last.c.purchase_key,
    )
    return (
        core_select(
            subjects.subject_ref,
            subjects.created_at.label("subject_created_at"),
            last.c.created_at.label("drew_at"),
            last_used_at.label("last_used_at"),
            was_sold.label("was_sold"),
        )
        .join_from(
            last,
            purchases,
            (purchases.c.project_id == scope.project_id)
            & (purchases.c.mode == scope.mode)
            & (purchases.c.key == last.c.purchase_key),
        )
        .join(
            table_of(Subject),
            (subjects.project_id == scope.project_id)
            & (subjects.mode == scope.mode)
            & (subjects.id == last.c.subject_id),
        )
        # The call that makes a subject makes its purchase in the same transaction, at the same instant.
        .where(last.c.source == DEFAULT, purchases.c.created_at == subjects.created_at)
    )
