"""Reads of checkout attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, and_, or_
from sqlalchemy import Select as CoreSelect
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.db.reads import read_all, read_first, read_row
from licenzy.db.upsert import table_of
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject


@read_first
def attempt_by_id(scope: Scope, *, attempt_id: str) -> SelectOfScalar[CheckoutAttempt]:
    """The attempt with this id, of this project and mode."""
    return select(CheckoutAttempt).where(
        CheckoutAttempt.project_id == scope.project_id,
        CheckoutAttempt.mode == scope.mode,
        CheckoutAttempt.id == attempt_id,
    )


def has_open_checkout(db: Session, scope: Scope, *, connection_id: str, now: datetime) -> bool:
    """Whether a buyer may be paying now: a session is open, or Stripe is being asked for one."""
    found = _open_checkout(
        db,
        scope,
        connection_id=connection_id,
        now=now,
        since=now - _SESSION_LASTS,
        just_now=now - _STRIPE_ANSWERS_WITHIN,
    )
    return found is not None


_SESSION_LASTS = timedelta(days=1)
_STRIPE_ANSWERS_WITHIN = timedelta(minutes=10)


@read_first
def _open_checkout(
    scope: Scope, *, connection_id: str, now: datetime, since: datetime, just_now: datetime
) -> SelectOfScalar[str]:
    attempt = CheckoutAttempt
    is_open = and_(col(attempt.status) == AttemptStatus.OPEN, col(attempt.expires_at) > now)
    is_created = and_(col(attempt.status) == AttemptStatus.CREATED, col(attempt.created_at) > just_now)
    return (
        select(attempt.id)
        .where(
            attempt.project_id == scope.project_id,
            attempt.mode == scope.mode,
            attempt.created_at > since,
            attempt.connection_id == connection_id,
            or_(is_open, is_created),
        )
        .limit(1)
    )


class SoldAttempt(NamedTuple):
    """What an attempt sold, and to whom, which does not change once its session exists, and its objects."""

    id: str
    subject_id: str
    sold: dict[str, Any]
    quantity: int
    items_sold: list[dict[str, Any]] | None
    stripe_checkout_session_id: str | None
    stripe_subscription_id: str | None

    @property
    def others(self) -> Sequence[dict[str, Any]]:
        """What it sold beside the first product."""
        return (self.items_sold or ())[1:]

    def sold_at(self, price_id: str | None) -> dict[str, Any] | None:
        """What it sold at this price; none where it sold nothing at it."""
        return next(
            (
                sold
                for sold in (self.sold, *(each["sold"] for each in self.others))
                if sold["stripe_price_id"] == price_id
            ),
            None,
        )


NAMED_BY = {
    "attempt": "id",
    "session": "stripe_checkout_session_id",
    "subscription": "stripe_subscription_id",
}
"""What may name an attempt, and the column that stores it."""


def sold_attempt(db: Session, scope: Scope, *, connection_id: str, by: str, name: str) -> SoldAttempt | None:
    """The attempt of this very connection that is named so."""
    find = _SOLD[by]
    row = find(db, scope, connection_id=connection_id, name=name)
    return SoldAttempt._make(row) if row is not None else None


def _sold_by(column: str) -> Callable[..., Row[Any] | None]:
    columns = table_of(CheckoutAttempt).c

    @read_row
    def find(scope: Scope, *, connection_id: str, name: str) -> CoreSelect[Any]:
        return core_select(*(columns[each] for each in SoldAttempt._fields)).where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.connection_id == connection_id,
            columns[column] == name,
        )

    return find


_SOLD = {by: _sold_by(column) for by, column in NAMED_BY.items()}


def lock_subscription_of(db: Session, scope: Scope, *, attempt_id: str) -> str | None:
    """The subscription that an attempt is linked to; the attempt is locked until the transaction ends."""
    row = _lock_subscription(db, scope, attempt_id=attempt_id)
    return row.stripe_subscription_id if row is not None else None


@read_row
def _lock_subscription(scope: Scope, *, attempt_id: str) -> CoreSelect[Any]:
    columns = table_of(CheckoutAttempt).c
    found = core_select(columns.stripe_subscription_id).where(
        columns.project_id == scope.project_id, columns.mode == scope.mode, columns.id == attempt_id
    )
    return found.with_for_update()


@read_all
def attempts_of(scope: Scope, *, subject_id: str, limit: int) -> SelectOfScalar[CheckoutAttempt]:
    """What a subject last tried to buy, newest first."""
    return (
        select(CheckoutAttempt)
        .where(
            CheckoutAttempt.subject_id == subject_id,
            CheckoutAttempt.project_id == scope.project_id,
            CheckoutAttempt.mode == scope.mode,
        )
        .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
        .limit(limit)
    )


@read_all
def latest_attempts(scope: Scope, *, limit: int) -> Select[CheckoutAttempt, Subject]:
    """The last attempts of one side and who made them, newest first."""
    return (
        select(CheckoutAttempt, Subject)
        .join(Subject)
        .where(CheckoutAttempt.project_id == scope.project_id, CheckoutAttempt.mode == scope.mode)
        .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
        .limit(limit)
    )
