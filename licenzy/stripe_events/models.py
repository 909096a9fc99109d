"""The inbox: Stripe's events as received."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, UniqueConstraint, false, text, true
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_side

_WITH_PROBLEM = text("problem IS NOT NULL")
_WAITING = "adopted_at IS NULL AND ended_at IS NULL AND listed"


class EventStatus(StrEnum):
    """What became of a received event."""

    RECEIVED = "received"
    APPLIED = "applied"
    IGNORED = "ignored"
    WRONG_MODE = "wrong_mode"
    WRONG_ACCOUNT = "wrong_account"
    FAILED = "failed"
    INVALID = "invalid"


class SettlingRead(Table, table=True):
    """A Stripe object that is to be read once more, because an event touched it.

    Requests for one object are one row: a read that began before the last request is followed by
    another. The lease keeps two workers from reading the same object at once.
    """

    __tablename__ = "settling_reads"
    __table_args__ = (
        Index("ix_settling_reads_due_at", "due_at"),
        Index(
            "ix_settling_reads_with_problem",
            "project_id",
            "mode",
            sqlite_where=_WITH_PROBLEM,
            postgresql_where=_WITH_PROBLEM,
        ),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    object_id: str = Field(primary_key=True)
    connection_id: str = Field(foreign_key="connections.id")
    requests: int = 0
    """How often it was asked for; a read is good for the requests made before it began."""
    snapshot: int = 0
    """The number of the last snapshot taken."""
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    """When it is to be read; none once every request has been met."""
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    tries: int = 0
    problem: str | None = None
    """Why the last read failed; the projected state stands meanwhile."""
    read_at: datetime | None = Field(default=None, sa_type=Instant)


class StripeEvent(Table, table=True):
    """One event, unique by Stripe's id within its project and mode; never lost once acknowledged."""

    __tablename__ = "stripe_events"
    __table_args__ = (
        UniqueConstraint("project_id", "mode", "event_id"),
        Index("ix_stripe_events_project_id_mode_object_id", "project_id", "mode", "object_id", "id"),
        Index("ix_stripe_events_project_id_mode_received_at", "project_id", "mode", "received_at"),
        Index("ix_stripe_events_status_next_try_at", "status", "next_try_at"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    """`rcv_…`, of our own: rises with the time of receipt."""
    connection_id: str = Field(foreign_key="connections.id")
    event_id: str
    """Stripe's own id of it."""
    type: str
    api_version: str | None = None
    object_id: str | None = None
    created: datetime = Field(sa_type=Instant)
    """Stripe's own time of the event, to the second."""
    payload: str
    """The signed bytes, as text, exactly as received."""
    fetched: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether it was read from Stripe's list of events with the key, and not delivered with a signature."""

    status: EventStatus = Field(default=EventStatus.RECEIVED, sa_type=Word(EventStatus))
    note: str | None = None
    """Why it was ignored, or what applying it said."""
    changes: list[dict[str, Any]] = Field(default=[], sa_type=JSON)
    """What applying it changed: the object, before and after."""
    tries: int = 0
    next_try_at: datetime | None = Field(default=None, sa_type=Instant)
    parked_at: datetime | None = Field(default=None, sa_type=Instant)
    duplicates: int = 0
    """How often Stripe sent it again."""
    received_at: datetime = Field(sa_type=Instant)
    applied_at: datetime | None = Field(default=None, sa_type=Instant)


class UntrackedCheckout(Table, table=True):
    """A purchase made past Licenzy, kept until somebody says whose it is; one row for each.

    It is a completed Checkout Session that Licenzy did not open, a subscription at a product's price that
    none of its checkouts began, or both where the one made the other.
    """

    __tablename__ = "untracked_checkouts"
    __table_args__ = (
        of_same_side("subject_id", "subjects"),
        UniqueConstraint("project_id", "mode", "session_id"),
        UniqueConstraint("project_id", "mode", "purchase_key"),
        Index(
            "ix_untracked_checkouts_waiting",
            "project_id",
            "mode",
            "id",
            sqlite_where=text(f"{_WAITING} = 1"),
            postgresql_where=text(_WAITING),
        ),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    connection_id: str = Field(foreign_key="connections.id")
    session_id: str | None = None
    """The Checkout Session, where one is known."""
    purchase_key: str
    """Its subscription where it is or made one, else the session itself."""
    recurring: bool
    payment_status: str | None = None
    """The session's."""
    amount_total: int | None = Field(default=None, sa_type=BigInteger)
    currency: str | None = None
    customer: str | None = None
    email: str | None = None
    reference: str | None = None
    """What the merchant's own code sent as `client_reference_id`: often whose it is."""
    event_id: str | None = None
    """The event that first told of it; none where a list of Stripe's did."""
    completed_at: datetime = Field(sa_type=Instant)
    """When the session was completed, or the subscription began."""
    kept_at: datetime = Field(sa_type=Instant)
    adopted_at: datetime | None = Field(default=None, sa_type=Instant)
    adopted_by: str | None = None
    """The user who adopted it; none where the project's setting did."""
    subject_id: str | None = None
    """Whom it was adopted onto."""

    status: str | None = None
    """The subscription's, in Stripe's words; none while only the session is known."""
    items: list[dict[str, Any]] | None = Field(default=None, sa_type=JSON)
    """The subscription's: `price`, `quantity`, and as `product` the id of the product that has the price."""
    ended_at: datetime | None = Field(default=None, sa_type=Instant)
    """When the subscription ended; from then on nobody has to decide on it."""
    state_at: datetime | None = Field(default=None, sa_type=Instant)
    """The instant at Stripe of which the subscription's state was told: an older one changes nothing."""
    sold_here: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether one of the subscription's prices is a product's."""
    listed: bool = Field(default=True, sa_column_kwargs={"server_default": true()})
    """Whether it is to be decided on: not where its prices are no product's, or another project sold it."""


class UnmappedItem(Table, table=True):
    """A price that a live subscription of a known customer holds and that is no product's, once for each."""

    __tablename__ = "unmapped_items"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    purchase_key: str = Field(primary_key=True)
    """The subscription."""
    stripe_price_id: str = Field(primary_key=True)
    stripe_product_id: str | None = None
    seen_at: datetime = Field(sa_type=Instant)
    """When it was first seen to hold the price."""
