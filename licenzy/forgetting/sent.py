"""What endpoints were sent of a customer, and what they answered."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlmodel import Session, col

from licenzy.db.upsert import table_of
from licenzy.deliveries.claims import change_deliveries
from licenzy.deliveries.models import Delivery, DeliveryAttempt, DeliveryStatus, OutboundEvent
from licenzy.forgetting.work import Work, batch_of, here

_AT_ONCE = 200
_EVENTS, _DELIVERIES, _TRIES = table_of(OutboundEvent), table_of(Delivery), table_of(DeliveryAttempt)

NOT_SENT = "The customer was erased before this was sent."
"""The error of a delivery that nobody gets any more."""


def blank_deliveries(db: Session, work: Work, after: str) -> str | None:
    """The bodies, errors and answers. What was not sent yet is not sent any more."""
    batch = batch_of(
        db,
        work,
        OutboundEvent,
        after=after,
        most=_AT_ONCE,
        where=[_EVENTS.c.subject_id == work.subject_id],
    )
    ids = [row.id for row in batch.rows]
    if ids:
        deliveries = select(_DELIVERIES.c.id).where(*here(work, _DELIVERIES), _DELIVERIES.c.event_id.in_(ids))
        tries = update(_TRIES).where(*here(work, _TRIES), _TRIES.c.delivery_id.in_(deliveries))
        db.execute(tries.values(error=None, answer=None))
        of_these = col(Delivery.event_id).in_(ids)
        change_deliveries(db, work.scope, [of_these], {"last_error": None})
        unsent = [of_these, col(Delivery.status).in_([DeliveryStatus.PENDING, DeliveryStatus.FAILED])]
        dead = {"status": DeliveryStatus.DEAD, "next_try_at": None, "leased_until": None}
        change_deliveries(db, work.scope, unsent, {**dead, "last_error": NOT_SENT})
        db.execute(update(_EVENTS).where(*here(work, _EVENTS), _EVENTS.c.id.in_(ids)).values(body=""))
    return batch.last_key
