"""Reads of the inbox."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.stripe_events.models import EventStatus, StripeEvent


def lock_event(db: Session, *, connection_id: str, event_id: str) -> StripeEvent:
    """The event with Stripe's own id, within its connection, held until this transaction ends."""
    return db.exec(
        select(StripeEvent)
        .where(StripeEvent.connection_id == connection_id, StripeEvent.event_id == event_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def events_about(db: Session, *, project_id: str, mode: Mode, object_id: str) -> list[StripeEvent]:
    """The events of one Stripe object, in order of arrival."""
    return list(
        db.exec(
            select(StripeEvent)
            .where(
                StripeEvent.project_id == project_id,
                StripeEvent.mode == mode,
                StripeEvent.object_id == object_id,
            )
            .order_by(col(StripeEvent.sequence))
        )
    )


def due_event(db: Session, *, now: datetime) -> StripeEvent | None:
    """The event of any project that has waited longest for another try, locked; for the worker alone."""
    return db.exec(
        select(StripeEvent)
        .where(
            col(StripeEvent.status).in_([EventStatus.RECEIVED, EventStatus.FAILED]),
            col(StripeEvent.next_try_at) <= now,
        )
        .order_by(col(StripeEvent.next_try_at))
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
