"""Endpoints, the events told to them, and each event's way to each endpoint."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Index, UniqueConstraint
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_side


class EventType(StrEnum):
    """What endpoints can be told of."""

    PURCHASE_FINALIZED = "purchase.finalized"
    ENTITLEMENT_UPDATED = "entitlement.updated"
    USAGE_CONSUMED = "usage.consumed"
    USAGE_LOW = "usage.low"
    USAGE_GRANTED = "usage.granted"
    SUBSCRIPTION_UPDATED = "subscription.updated"
    SUBSCRIPTION_DELETED = "subscription.deleted"
    SUBSCRIPTION_TRIAL_ENDING = "subscription.trial_ending"
    INVOICE_PAYMENT_SUCCEEDED = "invoice.payment_succeeded"
    INVOICE_PAYMENT_FAILED = "invoice.payment_failed"


class Source(StrEnum):
    """Where a change came from: Stripe, an operator in the portal, or a call of the runtime API."""

    STRIPE = "stripe"
    PORTAL = "portal"
    RUNTIME = "runtime"


class DeliveryStatus(StrEnum):
    """`pending` before the first try, `failed` between tries, then `sent`, or `dead` after the last one."""

    PENDING = "pending"
    FAILED = "failed"
    DEAD = "dead"
    SENT = "sent"


GONE, FAILING, MANUAL = "gone", "failing", "by_hand"
"""Why an endpoint was disabled: it answered 410, it failed for days and did nothing else, somebody did it."""


class WebhookEndpoint(Table, table=True):
    """An address of the merchant's in one mode, what it wants to be told, and the secret to sign with."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index("ix_webhook_endpoints_project_id_mode", "project_id", "mode"),)

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="projects.id")
    mode: Mode = Field(sa_type=Word(Mode))
    url: str
    description: str = ""
    types: list[str] = Field(sa_type=JSON)
    secret_sealed: str | None = None
    """None once the endpoint is deleted."""
    secret_masked: str
    secret_saved_at: datetime = Field(sa_type=Instant)
    previous_secret_sealed: str | None = None
    previous_secret_until: datetime | None = Field(default=None, sa_type=Instant)
    """Until then deliveries carry a signature of the previous secret too."""
    paused_at: datetime | None = Field(default=None, sa_type=Instant)
    """While paused, events are written and wait."""
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)
    """While disabled, no events are written and none are sent."""
    disabled_reason: str | None = None
    """`GONE`, `FAILING` or `MANUAL`."""
    failing_since: datetime | None = Field(default=None, sa_type=Instant)
    """The first failure since the last success."""
    last_success_at: datetime | None = Field(default=None, sa_type=Instant)
    created_by: str | None = None
    created_at: datetime = Field(sa_type=Instant)
    deleted_at: datetime | None = Field(default=None, sa_type=Instant)


class OutboundEvent(Table, table=True):
    """One thing that endpoints are told, with the exact body that all of them get."""

    __tablename__ = "outbound_events"
    __table_args__ = (
        of_same_side("subject_id", "subjects"),
        Index("ix_outbound_events_project_id_mode_subject_id", "project_id", "mode", "subject_id"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    """`evt_…`: the body's `id` and the header `webhook-id`."""
    type: EventType = Field(sa_type=Word(EventType))
    subject_id: str | None = None
    body: str
    created_at: datetime = Field(sa_type=Instant)


class Delivery(Table, table=True):
    """One event on its way to one endpoint: a row of the outbox."""

    __tablename__ = "deliveries"
    __table_args__ = (
        of_same_side("event_id", "outbound_events"),
        UniqueConstraint("project_id", "mode", "endpoint_id", "event_id"),
        Index("ix_deliveries_endpoint_id_next_try_at", "endpoint_id", "next_try_at"),
        Index("ix_deliveries_project_id_mode_status_id", "project_id", "mode", "status", "id"),
        Index("ix_deliveries_endpoint_id_status_id", "endpoint_id", "status", "id"),
        Index("ix_deliveries_project_id_mode_event_id", "project_id", "mode", "event_id"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    endpoint_id: str = Field(foreign_key="webhook_endpoints.id")
    event_id: str
    type: EventType = Field(sa_type=Word(EventType))
    status: DeliveryStatus = Field(default=DeliveryStatus.PENDING, sa_type=Word(DeliveryStatus))
    attempts: int = 0
    """How often it was tried in all."""
    tries: int = 0
    """How often it was tried since it was written, or asked for again: its place on the schedule."""
    next_try_at: datetime | None = Field(default=None, sa_type=Instant)
    """When it is due; none once it is sent or dead."""
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    """While a sender has it."""
    last_status: int | None = None
    last_error: str | None = None
    created_at: datetime = Field(sa_type=Instant)
    sent_at: datetime | None = Field(default=None, sa_type=Instant)


class DeliveryAttempt(Table, table=True):
    """One try: written when it begins, so that one whose sender died is not forgotten."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (of_same_side("delivery_id", "deliveries"),)

    project_id: str = Field(primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    delivery_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    began_at: datetime = Field(sa_type=Instant)
    milliseconds: int | None = None
    """How long it took; none while it runs, and for good when its sender died."""
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    """The first 2 KB of what the receiver answered."""
