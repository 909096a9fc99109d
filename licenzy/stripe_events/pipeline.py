"""The one way of what Stripe says: read, place, record, project, announce.

Each stage takes what the one before it made, and none goes back. Events enter at the first;
settling reads, adoptions and walks, which know what they read, at the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session

from licenzy.catalog.queries import sold_product_id
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import project_purchase
from licenzy.entitlements.events import Change, ChangeCause
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.subscriptions import KNOWN_STATUSES
from licenzy.observations.actions import probe_again
from licenzy.stripe_events.mapped_prices import note_unmapped
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.place import Placed, Waiting, place_found, place_reading
from licenzy.stripe_events.read import CatalogChange, Found, Nothing, Origin, nothing_depends_on, read
from licenzy.stripe_events.record import Recorded, ask_for_read, record, record_waiting
from licenzy.stripe_events.untracked import keep_untracked
from licenzy.stripe_gateway.shapes import Event, Reading


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an event."""

    status: EventStatus
    note: str | None = None
    changes: list[Change] = field(default_factory=list)


def apply_event(db: Session, origin: Origin, event: Event, *, now: datetime) -> Applied:
    """Turn an event into facts, project the purchase it concerns, and ask for a settling read.

    Raises what goes wrong, `Unreadable` included; the caller holds a savepoint.
    """
    reading = read(event)
    if isinstance(reading, Reading):
        return apply_reading(db, origin, reading, now=now)
    if isinstance(reading, CatalogChange):
        return _of_the_catalog(db, origin, reading, now)
    return Applied(EventStatus.IGNORED, reading.note)


def apply_reading(db: Session, origin: Origin, reading: Reading, *, now: datetime) -> Applied:
    """Apply what an event or a list of Stripe's says of one object; kept where its purchase is unknown."""
    placed = place_reading(db, origin, reading, now=now)
    if isinstance(placed, Nothing):
        return Applied(EventStatus.IGNORED, placed.note)
    if isinstance(placed, Waiting):
        record_waiting(db, placed, now=now)
        return Applied(EventStatus.APPLIED, "Stored until the purchase of its payment is known.")
    recorded = record(db, placed, now=now)
    if recorded.purchase.subject_id is None:
        return _of_nobody(db, placed, now)
    changes = _project(db, placed, recorded, now)
    if recorded.purchase.key.startswith("sub_") and reading.kind in _SETTLED_BY_READING:
        ask_for_read(db, origin, recorded.purchase.key, now=now)
    return Applied(EventStatus.APPLIED, _remark(placed), changes)


def apply_found(db: Session, origin: Origin, found: Found, *, now: datetime) -> list[Change]:
    """Record what Stripe said when it was asked, and project the purchase once; what changed."""
    placed = place_found(db, origin, found, now=now)
    return _project(db, placed, record(db, placed, now=now), now)


_SETTLED_BY_READING = frozenset({"subscription", "invoice", "session"})


def _project(db: Session, placed: Placed, recorded: Recorded, now: datetime) -> list[Change]:
    note_unmapped(db, recorded.purchase, recorded.facts, now=now)
    return project_purchase(
        db,
        recorded.purchase,
        now=now,
        cause=_cause(placed, recorded),
        facts=recorded.facts,
        has_endpoints=placed.has_endpoints,
    )


_REASONS = {
    "session": "checkout_finalized",
    "subscription": "subscription_updated",
    "invoice": "invoice_payment_succeeded",
    "invoice_payment": "invoice_payment_succeeded",
    "charge": "refund",
    "refund": "refund",
    "dispute": "dispute",
}
_REASONS_OF_EVENTS = {
    "customer.subscription.deleted": "subscription_deleted",
    "invoice.payment_failed": "invoice_payment_failed",
}


def _cause(placed: Placed, recorded: Recorded) -> ChangeCause:
    origin = placed.origin
    if origin.source is not FactSource.EVENT:
        return ChangeCause(Source.STRIPE, "read_from_stripe", new_facts=recorded.new_facts)
    (reading,) = placed.readings
    reason = _REASONS_OF_EVENTS.get(reading.data["event"]) or _REASONS.get(reading.kind, "")
    return ChangeCause(Source.STRIPE, reason, stripe_event_id=origin.source_id, new_facts=recorded.new_facts)


def _remark(placed: Placed) -> str | None:
    """What an operator should know of an event although it was applied."""
    (reading,) = placed.readings
    if reading.kind != "subscription":
        return None
    if reading.data["status"] not in KNOWN_STATUSES:
        return f"The status {reading.data['status'][:40]} is unknown. The last known state stays."
    unmapped = [item["price"] for item in reading.data["items"] if item["sold"] is None]
    return f"No product is mapped to {', '.join(unmapped)}." if unmapped else None


def _of_nobody(db: Session, placed: Placed, now: datetime) -> Applied:
    """A purchase that was not made here; a session of one is kept for an operator."""
    origin, (reading,) = placed.origin, placed.readings
    if reading.kind == "session":
        kept = keep_untracked(
            db,
            origin.scope,
            connection_id=origin.connection_id,
            reading=reading,
            purchase_key=placed.purchase.key,
            event_id=origin.source_id,
            completed_at=origin.occurred_at,
            now=now,
        )
        if not kept:
            return Applied(EventStatus.IGNORED, _NOT_OURS)
    return Applied(EventStatus.IGNORED, _UNTRACKED.get(reading.kind, _UNTRACKED["payment"]))


_NOT_OURS = "This session was created for another project, or was never completed."
_UNTRACKED = {
    "session": "Untracked checkout: this session was not created by Licenzy.",
    "subscription": "This subscription was not sold through Licenzy.",
    "invoice": "The invoice's subscription was not sold through Licenzy.",
    "payment": "The payment was not made through Licenzy.",
}


def _of_the_catalog(db: Session, origin: Origin, change: CatalogChange, now: datetime) -> Applied:
    """A price or product that is sold here changed at Stripe: what Stripe says of it is read anew, soon."""
    if sold_product_id(db, origin.scope, stripe_id=change.object_id) is None:
        return Applied(EventStatus.IGNORED, nothing_depends_on(change.event_type).note)
    probe_again(db, origin.scope, now=now)
    return Applied(EventStatus.APPLIED, "The prices of products are checked with Stripe again.")
