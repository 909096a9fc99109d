"""Settling reads: what an event touched is read once more from Stripe, coalesced and under a lease.

No write transaction is open while Stripe is asked. The answer is recorded as a numbered snapshot fact,
and the highest number wins over the events it covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Executable, Select, case, func, update
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.leases import is_free
from licenzy.db.reads import read_first, read_one, read_row
from licenzy.db.upsert import change_row, insert_or_change, insert_unless_there, table_of
from licenzy.entitlements.models import Fact, FactSource
from licenzy.kit.backoff import Backoff, Random
from licenzy.kit.lease import Lease
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import SettlingRead

SETTLE_AFTER = timedelta(seconds=2)
"""Stripe sends several events of one change within a second or two: one read serves them all."""

LEASE = Lease(timedelta(seconds=60))
_READS = table_of(SettlingRead)
_BACKOFF = Backoff(first=30.0, longest=6 * 3600.0, jitter=(1.0, 1.2))


@dataclass(frozen=True, slots=True)
class ReadClaim:
    """The right to read one object, and how many requests the read will have met."""

    scope: Scope
    connection_id: str
    object_id: str
    requests: int
    snapshot: int


def request_read(db: Session, scope: Scope, *, connection_id: str, object_id: str, now: datetime) -> None:
    """Ask that the object be read again; requests that come before the read begins are one."""
    request_reads(db, scope, connection_id=connection_id, object_ids=[object_id], now=now)


def request_reads(
    db: Session, scope: Scope, *, connection_id: str, object_ids: Sequence[str], now: datetime
) -> None:
    """The same for several objects at once."""
    rows = [
        {
            "connection_id": connection_id,
            "object_id": object_id,
            "project_id": scope.project_id,
            "mode": scope.mode,
            "requests": 1,
            "snapshot": 0,
            "due_at": now + SETTLE_AFTER,
            "tries": 0,
        }
        for object_id in sorted(object_ids)
    ]
    if rows:
        insert_or_change(db, SettlingRead, *rows, added=("requests",), replaced=("due_at",))


def claim_due_read(db: Session, *, now: datetime, connection_id: str | None = None) -> ReadClaim | None:
    """Take the read that has been due longest; None when none is.

    For the worker those of any project; for a walk those of its connection, the ones just asked for included.
    """
    if connection_id is None:
        row = _due(db, now=now)
    else:
        row = _due_at(db, connection_id=connection_id, until=now + SETTLE_AFTER, now=now)
    if row is None:
        return None
    change_row(
        db,
        SettlingRead,
        {"project_id": row.project_id, "mode": row.mode, "object_id": row.object_id},
        {"leased_until": LEASE.until(now)},
    )
    return ReadClaim(Scope.of(row), row.connection_id, row.object_id, row.requests, row.snapshot + 1)


@read_row
def _due(*, now: datetime) -> Select[Any]:
    return _longest_due(now).where(_READS.c.due_at <= now)


@read_row
def _due_at(*, connection_id: str, until: datetime, now: datetime) -> Select[Any]:
    return _longest_due(now).where(_READS.c.connection_id == connection_id, _READS.c.due_at <= until)


def _longest_due(now: datetime) -> Select[Any]:
    return (
        core_select(_READS)
        .where(is_free(_READS.c.leased_until, now))
        .order_by(_READS.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def last_event_at(db: Session, claim: ReadClaim) -> datetime | None:
    """The latest instant of which an event has told so far about a claimed subscription."""
    return _last_event_at(db, claim.scope, purchase_key=claim.object_id)


@read_one
def _last_event_at(scope: Scope, *, purchase_key: str) -> SelectOfScalar[datetime]:
    return select(func.max(Fact.occurred_at)).where(
        Fact.project_id == scope.project_id,
        Fact.mode == scope.mode,
        Fact.purchase_key == purchase_key,
        Fact.kind == "subscription",
        col(Fact.source) == FactSource.EVENT,
    )


def has_event_since(db: Session, scope: Scope, *, purchase_key: str, instant: datetime) -> bool:
    """Whether an event told of a purchase in the second of an instant of the account's, or later.

    Of what happened in the second in which it was read, a read cannot say whether it has seen it.
    """
    second = instant.replace(microsecond=0)
    return _event_since(db, scope, purchase_key=purchase_key, second=second) is not None


@read_first
def _event_since(scope: Scope, *, purchase_key: str, second: datetime) -> SelectOfScalar[str]:
    return (
        select(Fact.source_id)
        .where(
            Fact.project_id == scope.project_id,
            Fact.mode == scope.mode,
            Fact.purchase_key == purchase_key,
            col(Fact.source) == FactSource.EVENT,
            Fact.occurred_at >= second,
        )
        .limit(1)
    )


def claim_now(db: Session, scope: Scope, *, connection_id: str, object_id: str, began: datetime) -> ReadClaim:
    """The right to record a read that `began` outside of the queue, as reconciliation's lists are.

    A request made since then is not met by it.
    """
    insert_unless_there(
        db,
        SettlingRead,
        {
            "project_id": scope.project_id,
            "mode": scope.mode,
            "connection_id": connection_id,
            "object_id": object_id,
            "requests": 0,
            "snapshot": 0,
            "due_at": None,
            "tries": 0,
        },
    )
    row = _locked_read(db, scope, object_id=object_id)
    met = row.due_at is None or row.due_at - SETTLE_AFTER < began
    return ReadClaim(
        scope, connection_id, object_id, row.requests if met else row.requests - 1, row.snapshot + 1
    )


def read_done(db: Session, claim: ReadClaim, *, now: datetime, problem: str | None = None) -> bool:
    """Note that the claimed read was recorded; False when another one was quicker, and it must not be.

    Requests made since the read began keep it due. `problem` says what of it could not be understood.
    """
    recorded = _record_done(
        db,
        claim.scope,
        object_=claim.object_id,
        met=claim.requests,
        number=claim.snapshot,
        why=problem,
        now=now,
    )
    return recorded is not None


@read_row
def _record_done(
    scope: Scope, *, object_: str, met: int, number: int, why: str | None, now: datetime
) -> Executable:
    return (
        update(_READS)
        .where(
            _READS.c.project_id == scope.project_id,
            _READS.c.mode == scope.mode,
            _READS.c.object_id == object_,
            _READS.c.snapshot < number,
        )
        .values(
            snapshot=number,
            read_at=now,
            leased_until=None,
            tries=0,
            problem=why,
            due_at=case((_READS.c.requests == met, None), else_=_READS.c.due_at),
        )
        .returning(_READS.c.snapshot)
    )


def read_failed(
    db: Session,
    claim: ReadClaim,
    *,
    problem: str,
    give_up: bool,
    now: datetime,
    random: Random,
    not_before: int | None = None,
) -> None:
    """Note why the object could not be read; it is tried again later, or not at all when Stripe has none.

    Later is 30 seconds, then doubling with jitter, and not before `not_before` seconds where Stripe said so.
    """
    row = _locked_read(db, claim.scope, object_id=claim.object_id)
    row.tries += 1
    row.problem, row.leased_until = problem[:500], None
    delay = _BACKOFF.delay(row.tries, random, at_least=not_before or 0.0)
    row.due_at = None if give_up else now + delay
    db.flush()


@read_one
def _locked_read(scope: Scope, *, object_id: str) -> SelectOfScalar[SettlingRead]:
    return (
        select(SettlingRead)
        .where(
            SettlingRead.project_id == scope.project_id,
            SettlingRead.mode == scope.mode,
            SettlingRead.object_id == object_id,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
