"""Replay: rebuild entitlements from their facts, or apply one event again, and report what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import tuple_
from sqlmodel import Session, col, select, update

from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import change_row
from licenzy.entitlements.actions import lock_purchase, project_purchase
from licenzy.entitlements.events import Change
from licenzy.entitlements.models import Purchase
from licenzy.errors import NotFound
from licenzy.kit.clock import Clock
from licenzy.projects.scope import Scope
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
    database: Database, scope: Scope, *, event_id: str, clock: Clock, actor: Actor | None = None
) -> Replayed:
    """Apply a kept event again, a parked one included. Raises NotFound for an unknown or unusable one.

    Its fact is known already, so an applied event changes nothing unless the code has, or what it
    needed was mended. What it changed before stays with it.
    """

    def apply_again(db: Session) -> Replayed:
        kept = lock_event(db, scope, event_id=event_id)
        if kept is None or kept.status not in REPLAYABLE:
            raise NotFound(
                "This event does not exist or cannot be replayed.",
                hint="Compare its ID on the Stripe events page.",
            )
        if not kept.payload:
            raise NotFound("The payload of this event was removed when its customer was erased.")
        outcome = apply_kept(db, kept, now=clock())
        replayed = Replayed(outcome.status, outcome.note, outcome.changes if outcome.status in _DONE else [])
        change_row(db, StripeEvent, kept.primary_key, {"changes": [*kept.changes, *replayed.changes]})
        if actor is not None:
            after = {"status": outcome.status.value, "changes": len(replayed.changes)}
            _audit(db, Scope.of(kept), actor, "event.replay", event_id, after, clock())
        return replayed

    return database.retrying(apply_again)


def release_parked(db: Session, scope: Scope, *, actor: Actor, now: datetime) -> int:
    """Have every parked event of one side tried again by the worker, as if it were new; how many."""
    released = db.exec(
        update(StripeEvent)
        .where(
            col(StripeEvent.project_id) == scope.project_id,
            col(StripeEvent.mode) == scope.mode,
            col(StripeEvent.status) == EventStatus.FAILED,
            col(StripeEvent.parked_at).is_not(None),
        )
        .values(parked_at=None, next_try_at=now, tries=0)
    ).rowcount
    if released:
        failed = "events that failed permanently"
        _audit(db, scope, actor, "event.replay_parked", failed, {"events": released}, now)
    return released


def _audit(
    db: Session, scope: Scope, actor: Actor, action: str, about: str, after: dict[str, Any], now: datetime
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        about=about,
        after=after,
        now=now,
        project_id=scope.project_id,
        mode=scope.mode,
    )


def replay_purchases(
    database: Database,
    *,
    clock: Clock,
    scope: Scope | None = None,
    subject_id: str | None = None,
) -> Iterator[tuple[str, list[Change]]]:
    """Project the facts of purchases anew, one transaction each; the key and what differed.

    Without a scope all of the installation's, without a subject all of the side's.
    """
    after: Purchase | None = None
    while True:
        with database.read() as db:
            page = _purchases(db, after, scope, subject_id)
        for purchase in page:
            yield purchase.key, database.retrying(partial(_rebuild, purchase=purchase, now=clock()))
        if len(page) < _AT_A_TIME:
            return
        after = page[-1]


def _rebuild(db: Session, *, purchase: Purchase, now: datetime) -> list[Change]:
    scope = Scope.of(purchase)
    return project_purchase(db, lock_purchase(db, scope, key=purchase.key, now=now), now=now)


def _purchases(
    db: Session, after: Purchase | None, scope: Scope | None, subject_id: str | None
) -> list[Purchase]:
    order = (col(Purchase.project_id), col(Purchase.mode), col(Purchase.key))
    statement = select(Purchase).where(col(Purchase.subject_id).is_not(None))
    if after is not None:
        statement = statement.where(tuple_(*order) > (after.project_id, after.mode, after.key))
    if scope is not None:
        statement = statement.where(Purchase.project_id == scope.project_id, Purchase.mode == scope.mode)
    if subject_id is not None:
        statement = statement.where(Purchase.subject_id == subject_id)
    return list(db.exec(statement.order_by(*order).limit(_AT_A_TIME)))
