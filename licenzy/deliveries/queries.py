"""Reads of endpoints, deliveries and attempts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.alignment.facts import OutboundFacts
from licenzy.db.leases import is_free
from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_all, read_first
from licenzy.db.upsert import table_of
from licenzy.deliveries.models import (
    FAILING,
    GONE,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    EventType,
    OutboundEvent,
    WebhookEndpoint,
)
from licenzy.errors import NotFound
from licenzy.projects.scope import Scope

_NOT_A_HICCUP = timedelta(minutes=10)
_DISABLED = {
    GONE: "The endpoint answered 410 Gone and is disabled.",
    FAILING: "The endpoint failed for five days and is disabled.",
}


@read_all
def listeners(scope: Scope) -> Select[str, Sequence[str]]:
    """The endpoints that are written to, each with the types it wants; read where something changes."""
    return select(WebhookEndpoint.id, WebhookEndpoint.types).where(
        WebhookEndpoint.project_id == scope.project_id,
        WebhookEndpoint.mode == scope.mode,
        col(WebhookEndpoint.disabled_at).is_(None),
        col(WebhookEndpoint.deleted_at).is_(None),
    )


def somebody_listens(project_id: Any, mode: Any) -> ColumnElement[bool]:
    """Whether there are any: a column, for who reads other things before something changes."""
    endpoints = table_of(WebhookEndpoint).c
    there = core_select(endpoints.id).where(
        endpoints.project_id == project_id,
        endpoints.mode == mode,
        endpoints.disabled_at.is_(None),
        endpoints.deleted_at.is_(None),
    )
    return exists(there)


@read_all
def endpoints(scope: Scope) -> SelectOfScalar[WebhookEndpoint]:
    """The endpoints of one side, newest first, without the deleted ones."""
    return _of_side(scope).order_by(col(WebhookEndpoint.id).desc())


def endpoint(db: Session, scope: Scope, *, endpoint_id: str) -> WebhookEndpoint:
    """One endpoint. Raises NotFound, also for one of another project or mode, or deleted."""
    found = _endpoint(db, scope, endpoint_id=endpoint_id)
    if found is None:
        raise NotFound("This webhook endpoint does not exist in this mode.")
    return found


@read_first
def _endpoint(scope: Scope, *, endpoint_id: str) -> SelectOfScalar[WebhookEndpoint]:
    return _of_side(scope).where(WebhookEndpoint.id == endpoint_id)


def deliveries_page(
    db: Session,
    scope: Scope,
    *,
    status: DeliveryStatus | None = None,
    event_type: EventType | None = None,
    endpoint_id: str | None = None,
    place: Place = NEWEST,
) -> Page[Delivery]:
    """The deliveries of one side, newest first, narrowed by what is given."""
    statement = select(Delivery).where(Delivery.project_id == scope.project_id, Delivery.mode == scope.mode)
    if status is not None:
        statement = statement.where(Delivery.status == status)
    if event_type is not None:
        statement = statement.where(Delivery.type == event_type)
    if endpoint_id is not None:
        statement = statement.where(Delivery.endpoint_id == endpoint_id)
    return read_page(db, statement, col(Delivery.id), place)


def delivery_with(
    db: Session, scope: Scope, *, delivery_id: str
) -> tuple[Delivery, OutboundEvent, WebhookEndpoint]:
    """One delivery, its event and its endpoint, which may be deleted by now. Raises NotFound."""
    found = db.exec(
        select(Delivery, OutboundEvent, WebhookEndpoint)
        .join(OutboundEvent)
        .join(WebhookEndpoint, col(WebhookEndpoint.id) == Delivery.endpoint_id)
        .where(
            Delivery.project_id == scope.project_id, Delivery.mode == scope.mode, Delivery.id == delivery_id
        )
    ).first()
    if found is None:
        raise NotFound("This delivery does not exist in this mode.")
    return found


def attempts_of(db: Session, delivery: Delivery) -> list[DeliveryAttempt]:
    """The tries of one delivery, last first."""
    return list(
        db.exec(
            select(DeliveryAttempt)
            .where(
                DeliveryAttempt.project_id == delivery.project_id,
                DeliveryAttempt.mode == delivery.mode,
                DeliveryAttempt.delivery_id == delivery.id,
            )
            .order_by(col(DeliveryAttempt.number).desc())
        )
    )


@read_all
def deliveries_to(scope: Scope, *, subject_id: str, limit: int) -> SelectOfScalar[Delivery]:
    """The last deliveries that tell of a subject, newest first."""
    return (
        select(Delivery)
        .join(OutboundEvent)
        .where(
            OutboundEvent.subject_id == subject_id,
            Delivery.project_id == scope.project_id,
            Delivery.mode == scope.mode,
        )
        .order_by(col(Delivery.id).desc())
        .limit(limit)
    )


def waiting_counts(db: Session, scope: Scope, *, endpoint_id: str) -> dict[DeliveryStatus, int]:
    """How many deliveries to an endpoint are not sent, by status."""
    rows = _waiting(db, scope, endpoint_id=endpoint_id)
    return {DeliveryStatus(status): count for status, count in rows}


@read_all
def _waiting(scope: Scope, *, endpoint_id: str) -> Select[str, int]:
    return (
        select(Delivery.status, func.count())
        .where(
            Delivery.project_id == scope.project_id,
            Delivery.mode == scope.mode,
            Delivery.endpoint_id == endpoint_id,
            Delivery.status != DeliveryStatus.SENT,
        )
        .group_by(Delivery.status)
    )


def failing_endpoints(db: Session, scope: Scope, *, now: datetime) -> tuple[OutboundFacts, ...]:
    """The endpoints that were disabled for their failures, or from which nothing else came for a while."""
    facts = []
    for each in _failing(db, scope, since=now - _NOT_A_HICCUP):
        since = each.failing_since or each.disabled_at
        assert since is not None
        disabled = _DISABLED.get(each.disabled_reason or "")
        error = disabled or _last_error(db, endpoint_id=each.id) or ""
        facts.append(OutboundFacts(each.id, each.url, since, error))
    return tuple(facts)


@read_all
def _failing(scope: Scope, *, since: datetime) -> SelectOfScalar[WebhookEndpoint]:
    return _of_side(scope).where(
        col(WebhookEndpoint.paused_at).is_(None),
        (col(WebhookEndpoint.failing_since) <= since)
        | col(WebhookEndpoint.disabled_reason).in_([GONE, FAILING]),
    )


@read_first
def _last_error(*, endpoint_id: str) -> SelectOfScalar[str | None]:
    return (
        select(col(Delivery.last_error))
        .where(
            Delivery.endpoint_id == endpoint_id,
            col(Delivery.status).in_([DeliveryStatus.FAILED, DeliveryStatus.DEAD]),
        )
        .order_by(col(Delivery.id).desc())
        .limit(1)
    )


@read_all
def endpoints_with_work(*, now: datetime) -> SelectOfScalar[WebhookEndpoint]:
    """The endpoints, of any project, to which something is due; those that work first. For the sender."""
    due = (
        select(Delivery.id)
        .where(
            Delivery.endpoint_id == WebhookEndpoint.id,
            col(Delivery.next_try_at) <= now,
            is_free(col(Delivery.leased_until), now),
        )
        .correlate(WebhookEndpoint)
        .exists()
    )
    return select(WebhookEndpoint).where(
        col(WebhookEndpoint.paused_at).is_(None),
        col(WebhookEndpoint.disabled_at).is_(None),
        col(WebhookEndpoint.deleted_at).is_(None),
        due,
    )


def _of_side(scope: Scope) -> SelectOfScalar[WebhookEndpoint]:
    return select(WebhookEndpoint).where(
        WebhookEndpoint.project_id == scope.project_id,
        WebhookEndpoint.mode == scope.mode,
        col(WebhookEndpoint.deleted_at).is_(None),
    )
