"""What is known of one side of a project when its set-up is judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.checkout.models import AttemptStatus
from licenzy.connections.models import Provider
from licenzy.stripe_events.models import EventStatus


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """The Stripe connection, without its secrets."""

    id: str
    provider: Provider
    key_masked: str | None
    key_saved_at: datetime | None
    account_id: str | None
    account_name: str | None
    charges_enabled: bool | None
    secret_masked: str | None
    secret_saved_at: datetime | None
    endpoint_id: str | None
    proven_at: datetime | None
    last_event_id: str | None

    @property
    def connected(self) -> bool:
        return self.key_masked is not None

    @property
    def proven(self) -> bool:
        """Whether an event with a good signature arrived since the present secret was saved."""
        if self.proven_at is None or self.secret_saved_at is None:
            return False
        return self.proven_at >= self.secret_saved_at


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """One product that is sold, as its price was last seen."""

    id: str
    product_code: str
    kind: Kind
    stripe_price_id: str
    recurring: bool
    price_livemode: bool
    sellable: bool
    """Whether the price and its Stripe product were active when last read."""
    created_at: datetime
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One API key that is neither revoked nor expired."""

    id: str
    name: str
    masked: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventFacts:
    """The Stripe event that told of a session."""

    event_id: str
    type: str
    status: EventStatus
    note: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class JourneyFacts:
    """One purchase on its way: the attempt, and what has happened to it since."""

    attempt_id: str
    subject_ref: str
    product_code: str
    status: AttemptStatus
    reason: str | None
    created_at: datetime
    session_id: str | None
    checkout_url: str | None
    expires_at: datetime | None
    event: EventFacts | None
    entitlement_id: str | None
    granted_at: datetime | None
    allowed: bool
    refusal: str | None
    """Why the check says no, as `decide` words it."""
    last_event_at: datetime | None
    """When any event last arrived on the connection since the attempt was made."""
    subject_id: str | None = None

    @property
    def granted(self) -> bool:
        return self.entitlement_id is not None


@dataclass(frozen=True, slots=True)
class SetupFacts:
    """Everything the steps and findings of one side are judged by."""

    mode: Mode
    now: datetime
    connection: ConnectionFacts | None
    products: tuple[ProductFacts, ...]
    keys: tuple[KeyFacts, ...]
    journey: JourneyFacts | None
    """The purchase that proves the set-up: the last one granted, else the last one tried."""
    other_side_connected: bool
