"""From an event to facts, and from facts to what they change."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.catalog.queries import product_by_price
from licenzy.catalog.rules import as_sold
from licenzy.checkout.actions import settle_attempt
from licenzy.checkout.models import CheckoutAttempt
from licenzy.checkout.queries import attempt_by_id, attempt_of_session, attempt_of_subscription
from licenzy.entitlements.actions import Change, lock_purchase, project_purchase, record_fact
from licenzy.entitlements.models import FactSource, Purchase
from licenzy.entitlements.projection import SETTLED
from licenzy.entitlements.queries import facts_of
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_gateway.shapes import Event, Reading, read_object
from licenzy.subjects.actions import link_customer


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an event."""

    status: EventStatus
    note: str | None = None
    changes: list[Change] = field(default_factory=list)


def apply_event(db: Session, row: StripeEvent, event: Event, *, now: datetime) -> Applied:
    """Turn one event of the inbox into facts and project the purchase it concerns.

    Raises what goes wrong, `Unreadable` included; the caller holds a savepoint.
    """
    reading = read_object(event)
    if reading is None:
        return Applied(EventStatus.IGNORED, f"Nothing depends on {event.type}.")
    key = _purchase_key(reading)
    if key is None:
        return Applied(EventStatus.IGNORED, _UNRELATED[reading.kind])
    purchase = lock_purchase(db, project_id=row.project_id, mode=row.mode, key=key, now=now)
    attempt = _attempt_of(db, row, reading)
    _link(db, purchase, attempt)
    _add_what_was_sold(db, row, reading, attempt)
    record_fact(
        db,
        project_id=row.project_id,
        mode=row.mode,
        source=FactSource.EVENT,
        source_id=row.event_id,
        kind=reading.kind,
        object_id=reading.object_id,
        purchase_key=key,
        occurred_at=event.created,
        data=reading.data,
        now=now,
    )
    if attempt is not None and reading.kind == "session":
        _settle(db, row, purchase, attempt, reading, now)
    if purchase.subject_id is None:
        return Applied(EventStatus.IGNORED, _UNTRACKED[reading.kind])
    changes = project_purchase(db, purchase, now=now)
    return Applied(EventStatus.APPLIED, None, changes)


_UNRELATED = {
    "session": "A session that only saves a payment method grants nothing.",
    "invoice": "The invoice belongs to no subscription.",
}
_UNTRACKED = {
    "session": "Untracked checkout: this session was not opened through Licenzy.",
    "subscription": "This subscription was not sold through Licenzy.",
    "invoice": "The invoice's subscription was not sold through Licenzy.",
}


def _purchase_key(reading: Reading) -> str | None:
    """The purchase an object belongs to: its subscription where there is one, else its session."""
    data = reading.data
    if reading.kind == "subscription":
        return reading.object_id
    if reading.kind == "invoice":
        return str(data["subscription"]) if data["subscription"] else None
    if data["mode"] == "setup":
        return None
    return str(data["subscription"]) if data["subscription"] else reading.object_id


def _attempt_of(db: Session, row: StripeEvent, reading: Reading) -> CheckoutAttempt | None:
    """The attempt behind an object, if it is one of this very connection.

    What Stripe echoes in metadata only names an attempt; whose it is stands in our own row.
    """
    scope: dict[str, Any] = {"project_id": row.project_id, "mode": row.mode}
    named = reading.data["attempt"]
    if isinstance(named, str):
        attempt = attempt_by_id(db, attempt_id=named, **scope)
        if attempt is not None and attempt.connection_id == row.connection_id:
            return attempt
    scope["connection_id"] = row.connection_id
    if reading.kind == "session":
        return attempt_of_session(db, session_id=reading.object_id, **scope)
    subscription_id = reading.data["subscription"] if reading.kind == "invoice" else reading.object_id
    return attempt_of_subscription(db, subscription_id=subscription_id, **scope)


def _link(db: Session, purchase: Purchase, attempt: CheckoutAttempt | None) -> None:
    if attempt is None or purchase.subject_id is not None:
        return
    purchase.subject_id, purchase.attempt_id = attempt.subject_id, attempt.id
    db.flush()


def _add_what_was_sold(
    db: Session, row: StripeEvent, reading: Reading, attempt: CheckoutAttempt | None
) -> None:
    """Write into the fact what its price meant at this time, so that the projection needs no catalog."""
    if reading.kind == "session" and attempt is not None:
        reading.data["sold"] = attempt.sold
        reading.data["quantity"] = attempt.quantity
    if reading.kind == "subscription":
        for item in reading.data["items"]:
            item["sold"] = _sold_as(db, row, item["price"], attempt)


def _sold_as(
    db: Session, row: StripeEvent, price_id: str, attempt: CheckoutAttempt | None
) -> dict[str, Any] | None:
    if attempt is not None and attempt.sold["stripe_price_id"] == price_id:
        return attempt.sold
    product = product_by_price(db, project_id=row.project_id, mode=row.mode, price_id=price_id)
    if product is None or product.kind is not Kind.SUBSCRIPTION:
        return None
    return as_sold(product)


def _settle(
    db: Session,
    row: StripeEvent,
    purchase: Purchase,
    attempt: CheckoutAttempt,
    reading: Reading,
    now: datetime,
) -> None:
    scope: dict[str, Any] = {"project_id": row.project_id, "mode": row.mode}
    told = [f for f in facts_of(db, purchase_key=purchase.key, **scope) if f.object_id == reading.object_id]
    settle_attempt(
        db,
        attempt_id=attempt.id,
        session_id=reading.object_id,
        sessions=[fact.data for fact in told],
        paid_at=min((f.occurred_at for f in told if f.data["payment_status"] in SETTLED), default=None),
        now=now,
        **scope,
    )
    if reading.data["status"] == "complete":
        link_customer(
            db,
            subject_id=attempt.subject_id,
            stripe_customer_id=reading.data["customer"],
            email=reading.data["email"],
            **scope,
        )
