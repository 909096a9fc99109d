"""Replay: rebuild entitlements from their facts, or apply one event again, and report what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import tuple_
from sqlmodel import Session, col, select, update

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import change_row
from licenzy.entitlements.actions import lock_purchase, project_purchase
from licenzy.entitlements.announcing import Change
from licenzy.entitlements.models import Purchase
from licenzy.errors import NotFound
from licenzy.kit.clock import Clock
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_events.queries import lock_event
from licenzy.stripe_events.receive import apply_kept
from licenzy.workspace.audit import Actor, record

REPLAYABLE = frozenset({EventStatus.RECEIVED, EventStatus.FAILED, EventStatus.APPLIED, EventStatus.IGNORED})
_DONE = frozenset({EventStatus.APPLIED, EventStatus.IGNORED})
_AT_A_TIME = 200


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of an event that was applied again, and what that changed."""

    status: EventStatus
    note: str | None
    changes: list[Change]


def replay_event(
    database: Database, *, connection_id: str, event_id: str, clock: Clock, actor: Actor | None = None
) -> Replayed:
    """Apply a kept event again, a parked one included. Raises NotFound for an unknown or unusable one.

    Its fact is known already, so an applied event changes nothing unless the code has, or what it
    needed was mended. What it changed before stays with it.
    """

    def apply_again(db: Session) -> Replayed:
        kept = lock_event(db, connection_id=connection_id, event_id=event_id)
        if kept is None or kept.status not in REPLAYABLE:
            raise NotFound("There is no such event to replay.", hint="Compare the id on the Events page.")
        became = apply_kept(db, kept, now=clock())
        replayed = Replayed(became.status, became.note, became.changes if became.status in _DONE else [])
        change_row(
            db, StripeEvent, {"sequence": kept.sequence}, {"changes": [*kept.changes, *replayed.changes]}
        )
        if actor is not None:
            after = {"status": became.status.value, "changes": len(replayed.changes)}
            _audit(db, kept.project_id, kept.mode, actor, "event.replay", event_id, after, clock())
        return replayed

    return database.retrying(apply_again)


def release_parked(db: Session, *, project_id: str, mode: Mode, actor: Actor, now: datetime) -> int:
    """Have every parked event of one side tried again by the worker, as if it were new; how many."""
    released = db.exec(
        update(StripeEvent)
        .where(
            col(StripeEvent.project_id) == project_id,
            col(StripeEvent.mode) == mode,
            col(StripeEvent.status) == EventStatus.FAILED,
            col(StripeEvent.parked_at).is_not(None),
        )
        .values(parked_at=None, next_try_at=now, tries=0)
    ).rowcount
    if released:
        _audit(db, project_id, mode, actor, "event.replay_parked", "parked events", {"events": released}, now)
    return released


def _audit(
    db: Session,
    project_id: str,
    mode: Mode,
    actor: Actor,
    action: str,
    about: str,
    after: dict[str, Any],
    now: datetime,
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        about=about,
        after=after,
        now=now,
        project_id=project_id,
        mode=mode,
    )


def replay_purchases(
    database: Database,
    *,
    clock: Clock,
    project_id: str | None = None,
    mode: Mode | None = None,
    subject_id: str | None = None,
) -> Iterator[tuple[str, list[Change]]]:
    """Project the facts of purchases anew, one transaction each; the key and what differed.

    Without a project all of the installation's, without a subject all of the project's.
    """
    after: Purchase | None = None
    while True:
        with database.read() as db:
            page = _purchases(db, after, project_id, mode, subject_id)
        for purchase in page:
            yield purchase.key, database.retrying(partial(_rebuild, purchase=purchase, now=clock()))
        if len(page) < _AT_A_TIME:
            return
        after = page[-1]


def _rebuild(db: Session, *, purchase: Purchase, now: datetime) -> list[Change]:
    scope: dict[str, Any] = {"project_id": purchase.project_id, "mode": purchase.mode}
    return project_purchase(db, lock_purchase(db, key=purchase.key, now=now, **scope), now=now)


def _purchases(
    db: Session,
    after: Purchase | None,
    project_id: str | None,
    mode: Mode | None,
    subject_id: str | None,
) -> list[Purchase]:
    order = (col(Purchase.project_id), col(Purchase.mode), col(Purchase.key))
    statement = select(Purchase).where(col(Purchase.subject_id).is_not(None))
    if after is not None:
        statement = statement.where(tuple_(*order) > (after.project_id, after.mode, after.key))
    if project_id is not None:
        statement = statement.where(Purchase.project_id == project_id)
    if mode is not None:
        statement = statement.where(Purchase.mode == mode)
    if subject_id is not None:
        statement = statement.where(Purchase.subject_id == subject_id)
    return list(db.exec(statement.order_by(*order).limit(_AT_A_TIME)))
