"""The outbox: what changed is written here in the change's own transaction, for each endpoint once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.leases import is_free
from licenzy.db.upsert import table_of
from licenzy.deliveries.actions import EndpointContext
from licenzy.deliveries.claims import change_deliveries
from licenzy.deliveries.models import (
    Delivery,
    DeliveryStatus,
    EventType,
    OutboundEvent,
    Source,
    WebhookEndpoint,
)
from licenzy.deliveries.queries import endpoint, listeners
from licenzy.deliveries.rules import Data, EventDraft, body
from licenzy.errors import InvalidRequest
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.queries import subject_by_id
from licenzy.workspace.audit import record


def announce(db: Session, scope: Scope, *, drafts: Callable[[], Iterable[EventDraft]], now: datetime) -> None:
    """Tell the endpoints of this side of what happened: one row for each happening and endpoint wanting it.

    Call it in the transaction of the change. Where nobody listens this is one indexed read, `drafts`
    is not called and nothing is written.
    """
    endpoints = listeners(db, scope)
    if not endpoints:
        return
    addressed = [(each, [name for name, types in endpoints if each.type in types]) for each in drafts()]
    write_events(db, scope, [each for each in addressed if each[1]], now=now)


def write_events(
    db: Session, scope: Scope, addressed: Sequence[tuple[EventDraft, Sequence[str]]], *, now: datetime
) -> list[str]:
    """An event with its body for each happening, and a delivery to each of its endpoints; the events' ids."""
    events: list[dict[str, Any]] = []
    deliveries: list[dict[str, Any]] = []
    refs = {each: _ref(db, each, scope) for each in {draft.subject_id for draft, _to in addressed}}
    for draft, to in addressed:
        event = _event(draft, refs[draft.subject_id], scope, now)
        events.append(event)
        deliveries += [_delivery(event, endpoint_id, scope, now) for endpoint_id in to]
    if events:
        db.flush()
        db.connection().execute(_INSERT_EVENTS, events)
        db.connection().execute(_INSERT_DELIVERIES, deliveries)
    return [event["id"] for event in events]


_INSERT_EVENTS, _INSERT_DELIVERIES = insert(table_of(OutboundEvent)), insert(table_of(Delivery))


def _event(draft: EventDraft, subject_ref: str | None, scope: Scope, now: datetime) -> dict[str, Any]:
    event_id = new_id("evt")
    addressed = body(scope, draft, event_id=event_id, subject_ref=subject_ref, now=now)
    return {
        "id": event_id,
        "project_id": scope.project_id,
        "mode": scope.mode,
        "type": draft.type,
        "subject_id": draft.subject_id,
        "body": json.dumps(addressed, ensure_ascii=False, separators=(",", ":")),
        "created_at": now,
    }


def _delivery(event: Mapping[str, Any], endpoint_id: str, scope: Scope, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id("dlv"),
        "project_id": scope.project_id,
        "mode": scope.mode,
        "endpoint_id": endpoint_id,
        "event_id": event["id"],
        "type": event["type"],
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "tries": 0,
        "next_try_at": now,
        "created_at": now,
    }


def send_test(db: Session, context: EndpointContext, *, endpoint_id: str, event_type: EventType) -> str:
    """Send one endpoint an example of a type, by the same way as everything; the delivery's id.

    Its reason is `test` and it names no subject. Raises NotFound, and InvalidRequest where nothing is sent.
    """
    found = endpoint(db, context.scope, endpoint_id=endpoint_id)
    if found.paused_at is not None or found.disabled_at is not None:
        raise InvalidRequest("The endpoint is paused or disabled.", hint="Resume it first.")
    example = EventDraft(event_type, Source.PORTAL, "test", None, Data(actor_user_id=context.actor.user_id))
    (event_id,) = write_events(db, context.scope, [(example, [found.id])], now=context.now)
    record(
        db,
        actor=context.actor,
        action="webhook_endpoint.tested",
        about=found.id,
        now=context.now,
        project_id=context.scope.project_id,
        mode=context.scope.mode,
    )
    return db.exec(
        select(Delivery.id).where(
            Delivery.project_id == context.scope.project_id,
            Delivery.mode == context.scope.mode,
            Delivery.event_id == event_id,
        )
    ).one()


def requeue(
    db: Session,
    context: EndpointContext,
    *,
    delivery_id: str | None = None,
    statuses: Iterable[DeliveryStatus] = (DeliveryStatus.FAILED, DeliveryStatus.DEAD),
    event_type: EventType | None = None,
    endpoint_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Send deliveries again, at once and from the schedule's beginning; how many.

    One by its id, or all of these statuses, narrowed by type, endpoint and when they were written
    (`since` ≤ written < `until`). Those being sent at this moment, and those of deleted endpoints, are left
    alone. Receivers get the same `webhook-id` again.
    """
    alive = select(WebhookEndpoint.id).where(
        WebhookEndpoint.project_id == context.scope.project_id,
        WebhookEndpoint.mode == context.scope.mode,
        col(WebhookEndpoint.deleted_at).is_(None),
    )
    wanted = [
        col(Delivery.status).in_(list(statuses)),
        col(Delivery.endpoint_id).in_(alive),
        is_free(col(Delivery.leased_until), context.now),
        # Nothing is left to send of an event about a customer who was erased.
        col(Delivery.event_id).not_in(_blank_events(context.scope)),
    ]
    if delivery_id is not None:
        wanted.append(col(Delivery.id) == delivery_id)
    if event_type is not None:
        wanted.append(col(Delivery.type) == event_type)
    if endpoint_id is not None:
        wanted.append(col(Delivery.endpoint_id) == endpoint_id)
    if since is not None:
        wanted.append(col(Delivery.created_at) >= since)
    if until is not None:
        wanted.append(col(Delivery.created_at) < until)
    again = {"status": DeliveryStatus.PENDING, "tries": 0, "next_try_at": context.now, "sent_at": None}
    count = change_deliveries(db, context.scope, wanted, {"leased_until": None, **again})
    if count:
        record(
            db,
            actor=context.actor,
            action="delivery.requeued",
            about=delivery_id or endpoint_id or "deliveries",
            after={"count": count, "type": event_type},
            now=context.now,
            project_id=context.scope.project_id,
            mode=context.scope.mode,
        )
    return count


def _blank_events(scope: Scope) -> SelectOfScalar[str]:
    return select(OutboundEvent.id).where(
        OutboundEvent.project_id == scope.project_id,
        OutboundEvent.mode == scope.mode,
        OutboundEvent.body == "",
    )


def _ref(db: Session, subject_id: str | None, scope: Scope) -> str | None:
    if subject_id is None:
        return None
    subject = subject_by_id(db, scope, subject_id=subject_id)
    return subject.subject_ref if subject else None
