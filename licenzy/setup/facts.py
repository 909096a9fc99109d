"""What is known of one side of a project when its set-up is judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from licenzy.alignment.facts import ConnectionFacts, KeyFacts, ProductFacts
from licenzy.alignment.modes import Mode
from licenzy.checkout.models import AttemptStatus
from licenzy.stripe_events.models import EventStatus


@dataclass(frozen=True, slots=True)
class EventFacts:
    """The Stripe event that told of a session."""

    event_id: str
    type: str
    status: EventStatus
    note: str | None
    received_at: datetime
    fetched: bool = False
    """Whether it was read from Stripe's list, and not delivered with a signature."""


@dataclass(frozen=True, slots=True)
class JourneyFacts:
    """One purchase on its way: the attempt, and what has happened to it since."""

    attempt_id: str
    subject_ref: str
    product_code: str
    """Of the first product, where it sells several."""
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
    product_codes: str = ""
    """All that it sells, for people."""

    @property
    def bought(self) -> str:
        """What it sells, for people."""
        return self.product_codes or self.product_code

    @property
    def granted(self) -> bool:
        return self.entitlement_id is not None


@dataclass(frozen=True, slots=True)
class SetupFacts:
    """Everything the steps of one side are judged by."""

    mode: Mode
    now: datetime
    connection: ConnectionFacts | None
    products: tuple[ProductFacts, ...]
    keys: tuple[KeyFacts, ...]
    """Those that can be used."""
    journey: JourneyFacts | None
    """The purchase that proves the set-up: the last one granted, else the last one tried."""
    other_side_connected: bool
