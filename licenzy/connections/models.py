"""Stripe connections: one project's credentials at Stripe, for one mode."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table
from licenzy.projects.scope import Scope


class Provider(StrEnum):
    """Who answers as Stripe; only the address differs."""

    STRIPE = "stripe"
    SANDBOX = "sandbox"


class AccountPace(Table, table=True):
    """When an account at Stripe may be called next by what nobody waits for, whoever calls it.

    Several connections may have one account, and several processes work on each.
    """

    __tablename__ = "account_paces"

    account: str = Field(primary_key=True)
    """Stripe's `acct_…`, or our `con_…` where a restricted key may not read its account."""
    next_at: datetime = Field(sa_type=Instant)
    """By the database's clock: those of several machines may differ."""


class Connection(Table, table=True):
    """A Stripe key, a webhook signing secret and the account they belong to."""

    __tablename__ = "connections"
    __table_args__ = (UniqueConstraint("project_id", "mode"),)

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="projects.id")
    mode: Mode = Field(sa_type=Word(Mode))
    provider: Provider = Field(default=Provider.STRIPE, sa_type=Word(Provider))

    key_sealed: str | None = None
    key_masked: str | None = None
    """`sk_test_…4242`, for pages."""
    key_saved_at: datetime | None = Field(default=None, sa_type=Instant)

    account_id: str | None = None
    account_name: str | None = None
    country: str | None = None
    charges_enabled: bool | None = None
    verified_at: datetime | None = Field(default=None, sa_type=Instant)
    """When Stripe last accepted the key."""

    webhook_secret_sealed: str | None = None
    webhook_secret_masked: str | None = None
    webhook_secret_saved_at: datetime | None = Field(default=None, sa_type=Instant)
    previous_webhook_secret_sealed: str | None = None
    previous_webhook_secret_until: datetime | None = Field(default=None, sa_type=Instant)
    """While a secret is being rotated the previous one still verifies, until this instant."""
    webhook_endpoint_id: str | None = None
    """Stripe's `we_…`, when the endpoint was set up from here."""
    console_url: str | None = None
    """Where the sandbox shows this account; none at Stripe."""
    proven_at: datetime | None = Field(default=None, sa_type=Instant)
    """When the last event with a good signature arrived."""
    last_event_id: str | None = None

    clock_offset_seconds: int = 0
    """How far the account's simulated clock is ahead of ours; always 0 at Stripe itself."""

    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)

    @property
    def scope(self) -> Scope:
        """The side, with its clock as it was moved."""
        return Scope(self.project_id, self.mode, timedelta(seconds=self.clock_offset_seconds))


class EventPoll(Table, table=True):
    """When a connection's events are fetched next, where Stripe cannot deliver them, and what came of it.

    There is a row for each connection to Stripe that had a key in test mode; it is used only by an
    installation whose own address is a loopback address.
    """

    __tablename__ = "event_polls"
    __table_args__ = (Index("ix_event_polls_next_at", "next_at"),)

    connection_id: str = Field(foreign_key="connections.id", primary_key=True)
    next_at: datetime | None = Field(default=None, sa_type=Instant)
    """None while there is nothing to fetch: no key is saved, or it is the sandbox's."""
    quick_until: datetime | None = Field(default=None, sa_type=Instant)
    """Until then polls follow each other quickly, because somebody waits or something has just happened."""
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    """While one worker polls, the others leave the connection alone."""
    seen_to: datetime | None = Field(default=None, sa_type=Instant)
    """Stripe's time up to which every event has been fetched, or before which none is wanted."""
    polled_at: datetime | None = Field(default=None, sa_type=Instant)
    """When Stripe last listed the events."""
    failures: int = 0
    """Polls that failed since then."""
    problem: str | None = None
    """Why the last poll fetched nothing, as a sentence."""
    permission: str | None = None
    """The permission that the key lacks for it, in Stripe's name."""
