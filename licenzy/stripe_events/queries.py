"""Reads of the inbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Executable
from sqlalchemy import select as core_select
from sqlalchemy import update as core_update
from sqlmodel import Session, col, select, update
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_all, read_first, read_row
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Fact, Purchase
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.subjects.models import Subject


class KeptEvent(NamedTuple):
    """An event of the inbox, held until this transaction ends, as applying it needs it."""

    id: str
    connection_id: str
    event_id: str
    project_id: str
    mode: Mode
    created: datetime
    payload: str
    status: EventStatus
    tries: int
    duplicates: int
    note: str | None
    changes: list[dict[str, Any]]

    @property
    def primary_key(self) -> dict[str, Any]:
        """The columns that name its row."""
        return {"project_id": self.project_id, "mode": self.mode, "id": self.id}


_EVENTS = table_of(StripeEvent)
_KEPT = [_EVENTS.c[name] for name in KeptEvent._fields]


def count_repeat(db: Session, scope: Scope, *, event_id: str) -> KeptEvent:
    """Count that Stripe sent an event of the inbox again; the event, held."""
    row = _count_repeat(db, scope, event=event_id)
    assert row is not None
    return KeptEvent._make(row)


@read_row
def _count_repeat(scope: Scope, *, event: str) -> Executable:
    return (
        core_update(_EVENTS)
        .where(
            _EVENTS.c.project_id == scope.project_id,
            _EVENTS.c.mode == scope.mode,
            _EVENTS.c.event_id == event,
        )
        .values(duplicates=_EVENTS.c.duplicates + 1)
        .returning(*_KEPT)
    )


def known_event_ids(db: Session, scope: Scope, *, event_ids: Sequence[str]) -> set[str]:
    """Those of Stripe's ids that are in the inbox."""
    return set(_known_event_ids(db, scope, event_ids=event_ids))


@read_all
def _known_event_ids(scope: Scope, *, event_ids: Sequence[str]) -> SelectOfScalar[str]:
    return select(StripeEvent.event_id).where(
        StripeEvent.project_id == scope.project_id,
        StripeEvent.mode == scope.mode,
        col(StripeEvent.event_id).in_(event_ids),
    )


def note_on_session(db: Session, scope: Scope, *, session_id: str, note: str | None, mark: str) -> None:
    """Put a note on the applied events of a session; without one, remove the one that `mark` begins."""
    applied = (
        col(StripeEvent.project_id) == scope.project_id,
        col(StripeEvent.mode) == scope.mode,
        col(StripeEvent.object_id) == session_id,
        col(StripeEvent.status) == EventStatus.APPLIED,
    )
    if note is not None:
        db.execute(update(StripeEvent).where(*applied).values(note=note))
    else:
        noted = col(StripeEvent.note).startswith(mark)
        db.execute(update(StripeEvent).where(*applied, noted).values(note=None))


def lock_event(db: Session, scope: Scope, *, event_id: str) -> KeptEvent | None:
    """The event with Stripe's own id, held; None when there is none."""
    row = _lock(db, scope, event_id=event_id)
    return KeptEvent._make(row) if row is not None else None


@read_row
def _lock(scope: Scope, *, event_id: str) -> Executable:
    return (
        core_select(*_KEPT)
        .where(
            _EVENTS.c.project_id == scope.project_id,
            _EVENTS.c.mode == scope.mode,
            _EVENTS.c.event_id == event_id,
        )
        .with_for_update()
    )


def due_event(db: Session, *, now: datetime) -> KeptEvent | None:
    """The event of any project that has waited longest for another try, held; for the worker alone."""
    row = _due(db, now=now)
    return KeptEvent._make(row) if row is not None else None


@read_row
def _due(*, now: datetime) -> Executable:
    return (
        core_select(*_KEPT)
        .where(
            _EVENTS.c.status.in_([EventStatus.RECEIVED, EventStatus.FAILED]),
            _EVENTS.c.next_try_at <= now,
        )
        .order_by(_EVENTS.c.next_try_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def events_page(
    db: Session,
    scope: Scope,
    *,
    status: EventStatus | None = None,
    parked: bool = False,
    object_id: str | None = None,
    place: Place = NEWEST,
) -> Page[StripeEvent]:
    """The events of one side, the last to arrive first.

    When asked only those of one status, those parked, or those about one object.
    """
    statement = select(StripeEvent).where(
        StripeEvent.project_id == scope.project_id, StripeEvent.mode == scope.mode
    )
    if status is not None:
        statement = statement.where(StripeEvent.status == status)
    if parked:
        statement = statement.where(
            StripeEvent.status == EventStatus.FAILED, col(StripeEvent.parked_at).is_not(None)
        )
    if object_id is not None:
        statement = statement.where(StripeEvent.object_id == object_id)
    return read_page(db, statement, col(StripeEvent.id), place)


def receivers_of(db: Session, *, event_id: str, connection_id: str | None = None) -> list[Scope]:
    """The sides of any project that received the event; for who runs the installation.

    When asked only that of one connection.
    """
    found = select(StripeEvent.project_id, col(StripeEvent.mode)).where(StripeEvent.event_id == event_id)
    if connection_id is not None:
        found = found.where(StripeEvent.connection_id == connection_id)
    sides = db.exec(found.order_by(StripeEvent.project_id, col(StripeEvent.mode)))
    return [Scope(project_id, mode) for project_id, mode in sides]


@read_first
def event_by_id(scope: Scope, *, event_id: str) -> SelectOfScalar[StripeEvent]:
    """The event with Stripe's own id, of this project and mode."""
    return select(StripeEvent).where(
        StripeEvent.project_id == scope.project_id,
        StripeEvent.mode == scope.mode,
        StripeEvent.event_id == event_id,
    )


def subjects_behind(db: Session, scope: Scope, *, event_ids: Sequence[str]) -> dict[str, Subject]:
    """Whom these events concern, by event id; those that told of nobody known are left out."""
    return dict(_subjects_behind(db, scope, event_ids=event_ids))


@read_all
def _subjects_behind(scope: Scope, *, event_ids: Sequence[str]) -> Select[str, Subject]:
    return (
        select(Fact.source_id, Subject)
        .join(
            Purchase,
            (col(Purchase.project_id) == Fact.project_id)
            & (col(Purchase.mode) == Fact.mode)
            & (col(Purchase.key) == Fact.purchase_key),
        )
        .join(Subject)
        .where(
            Fact.project_id == scope.project_id, Fact.mode == scope.mode, col(Fact.source_id).in_(event_ids)
        )
    )


@read_all
def events_of_subject(scope: Scope, *, subject_id: str, limit: int) -> SelectOfScalar[StripeEvent]:
    """The last events that told of what a subject bought, newest first."""
    event_ids = (
        select(Fact.source_id)
        .join(
            Purchase,
            (col(Purchase.project_id) == Fact.project_id)
            & (col(Purchase.mode) == Fact.mode)
            & (col(Purchase.key) == Fact.purchase_key),
        )
        .where(
            Purchase.project_id == scope.project_id,
            Purchase.mode == scope.mode,
            Purchase.subject_id == subject_id,
        )
    )
    return (
        select(StripeEvent)
        .where(
            StripeEvent.project_id == scope.project_id,
            StripeEvent.mode == scope.mode,
            col(StripeEvent.event_id).in_(event_ids),
        )
        .order_by(col(StripeEvent.id).desc())
        .limit(limit)
    )
