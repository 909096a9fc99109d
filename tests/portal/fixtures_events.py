"""What has happened on a side, written directly: events as received, and the facts they told."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.connections.models import Connection
from licenzy.entitlements.models import Entitlement, Fact, FactSource
from licenzy.kit.ids import new_id
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.support.clock import START


def make_event(
    db: Session,
    *,
    connection: Connection,
    event_id: str = "evt_1",
    status: EventStatus = EventStatus.APPLIED,
    now: datetime = START,
    **columns: Any,
) -> StripeEvent:
    """An event of the inbox, with a payload that tells of somebody."""
    payload = {"id": event_id, "object": "event", "data": {"object": {"email": "buyer@example.com"}}}
    values = {"type": "invoice.paid", "object_id": "in_1", "payload": json.dumps(payload), **columns}
    event = StripeEvent(
        id=new_id("rcv"),
        connection_id=connection.id,
        event_id=event_id,
        project_id=connection.project_id,
        mode=connection.mode,
        created=now,
        status=status,
        received_at=now,
        **values,
    )
    db.add(event)
    db.flush()
    return event


def record_fact_of(db: Session, *, event: StripeEvent, entitlement: Entitlement) -> None:
    """Have an event tell of the purchase behind an entitlement."""
    db.add(
        Fact(
            id=new_id("fct"),
            project_id=event.project_id,
            mode=event.mode,
            source=FactSource.EVENT,
            source_id=event.event_id,
            kind="invoice",
            purchase_key=entitlement.purchase_key,
            object_id=event.object_id or "",
            occurred_at=event.created,
            recorded_at=event.received_at,
            data={},
        )
    )
    db.flush()
