"""From what Stripe says of an object to facts, and from facts to what they change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.catalog.queries import product_by_price, sold_product_id
from licenzy.catalog.rules import as_sold
from licenzy.checkout.actions import settle_attempt
from licenzy.checkout.models import CheckoutAttempt
from licenzy.checkout.queries import attempt_by_id, attempt_of_session, attempt_of_subscription
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import lock_purchase, project_purchase, record_fact
from licenzy.entitlements.announcing import Because, Change
from licenzy.entitlements.links import await_purchase, link_payments, payment_refs, purchase_behind
from licenzy.entitlements.models import Fact, FactSource, Purchase
from licenzy.entitlements.projected import SETTLED
from licenzy.entitlements.queries import facts_of
from licenzy.entitlements.subscriptions import KNOWN_STATUSES
from licenzy.observations.actions import look_again
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.settling import request_read
from licenzy.stripe_events.untracked import keep_untracked
from licenzy.stripe_gateway.shapes import Event, Reading, read_object
from licenzy.subjects.actions import link_customer, lock_subject
from licenzy.subjects.models import Subject


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a reading comes from: whose it is, what told it, and when that was at Stripe."""

    project_id: str
    mode: Mode
    connection_id: str
    source: FactSource
    source_id: str
    occurred_at: datetime

    @property
    def scope(self) -> dict[str, Any]:
        return {"project_id": self.project_id, "mode": self.mode}


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an event."""

    status: EventStatus
    note: str | None = None
    changes: list[Change] = field(default_factory=list)


def apply_event(db: Session, origin: Origin, event: Event, *, now: datetime) -> Applied:
    """Turn an event into a fact, project the purchase it concerns, and ask for a settling read.

    Raises what goes wrong, `Unreadable` included; the caller holds a savepoint.
    """
    reading = read_object(event)
    if reading is None:
        return _of_the_catalog(db, origin, event, now)
    if reading.kind == "session" and reading.data["mode"] == "setup":
        return Applied(EventStatus.IGNORED, "A session that only saves a payment method grants nothing.")
    return apply_told(db, origin, reading, now=now)


def _of_the_catalog(db: Session, origin: Origin, event: Event, now: datetime) -> Applied:
    """A price or product that is sold here changed at Stripe: what Stripe says of it is read anew, soon."""
    told = event.type.startswith(("price.", "product."))
    if not told or sold_product_id(db, **origin.scope, stripe_id=event.object_id or "") is None:
        return Applied(EventStatus.IGNORED, f"Nothing depends on {event.type}.")
    look_again(db, **origin.scope, now=now)
    return Applied(EventStatus.APPLIED, "Stripe is asked again about the prices of products.")


def apply_told(db: Session, origin: Origin, reading: Reading, *, now: datetime) -> Applied:
    """Apply what an event or a list of Stripe's says of one object; kept where its purchase is unknown."""
    key = _purchase_key(db, origin, reading)
    if key is None:
        return _wait(db, origin, reading, now)
    purchase, changes = apply_reading(db, origin, reading, key, now=now)
    if purchase.subject_id is None:
        if reading.kind == "session" and not _keep_untracked(db, origin, reading, key, now):
            return Applied(EventStatus.IGNORED, _NOT_OURS)
        return Applied(EventStatus.IGNORED, _UNTRACKED.get(reading.kind, _UNTRACKED["payment"]))
    if key.startswith("sub_") and reading.kind in {"subscription", "invoice", "session"}:
        request_read(db, object_id=key, connection_id=origin.connection_id, now=now, **origin.scope)
    return Applied(EventStatus.APPLIED, _remark(reading), changes)


def apply_reading(
    db: Session, origin: Origin, reading: Reading, key: str, *, now: datetime
) -> tuple[Purchase, list[Change]]:
    """Record one reading as a fact of the purchase `key` and project it; what changed."""
    return apply_readings(db, origin, [reading], key, now=now)


def apply_readings(
    db: Session,
    origin: Origin,
    readings: Sequence[Reading],
    key: str,
    *,
    payments: Iterable[str] = (),
    now: datetime,
) -> tuple[Purchase, list[Change]]:
    """Record readings made at one time as facts of the purchase `key` and project it once; what changed.

    `payments` are known to belong to it beside those that the readings name.
    """
    purchase = lock_purchase(db, key=key, now=now, **origin.scope)
    was_known = purchase.subject_id is not None
    news: set[tuple[str, str]] = set()
    sold: list[tuple[CheckoutAttempt, Reading]] = []
    refs = set(payments)
    for reading in readings:
        attempt = _attempt_of(db, origin, reading)
        _link_subject(db, purchase, attempt)
        _add_what_was_sold(db, origin, reading, attempt)
        if _record(db, origin, reading, now, purchase_key=key):
            news.add((origin.source_id, reading.kind))
        refs |= _taught(reading)
        if attempt is not None and reading.kind in {"session", "subscription"}:
            sold.append((attempt, reading))
    link_payments(db, refs=refs, purchase_key=key, **origin.scope)
    if purchase.subject_id is None:
        return purchase, []
    subject = lock_subject(db, subject_id=purchase.subject_id, **origin.scope)
    facts = facts_of(db, purchase_key=key, **origin.scope)
    for attempt, reading in sold:
        _settle(facts, attempt, subject, reading, now)
    if not was_known:
        news = {(fact.source_id, fact.kind) for fact in facts}
    because = _because(origin, readings, news)
    return purchase, project_purchase(db, purchase, now=now, because=because, facts=facts)


_REASONS = {
    "session": "checkout_finalized",
    "subscription": "subscription_updated",
    "invoice_payment": "invoice_payment_succeeded",
    "charge": "refund",
    "refund": "refund",
    "dispute": "dispute",
}


def _because(origin: Origin, readings: Sequence[Reading], news: set[tuple[str, str]]) -> Because:
    if origin.source is not FactSource.EVENT:
        return Because(Source.STRIPE, "read_from_stripe", news=news)
    (reading,) = readings
    reason = _REASONS.get(reading.kind, "")
    if reading.data["event"] == "customer.subscription.deleted":
        reason = "subscription_deleted"
    if reading.kind == "invoice":
        failed = reading.data["event"] == "invoice.payment_failed"
        reason = "invoice_payment_failed" if failed else "invoice_payment_succeeded"
    return Because(Source.STRIPE, reason, stripe_event_id=origin.source_id, news=news)


def _keep_untracked(db: Session, origin: Origin, reading: Reading, key: str, now: datetime) -> bool:
    return keep_untracked(
        db,
        connection_id=origin.connection_id,
        reading=reading,
        purchase_key=key,
        event_id=origin.source_id,
        completed_at=origin.occurred_at,
        now=now,
        **origin.scope,
    )


_NOT_OURS = "This session was opened for another project, or was never completed."
_UNTRACKED = {
    "session": "Untracked checkout: this session was not opened through Licenzy.",
    "subscription": "This subscription was not sold through Licenzy.",
    "invoice": "The invoice's subscription was not sold through Licenzy.",
    "payment": "The payment was not made through Licenzy.",
}


def _remark(reading: Reading) -> str | None:
    """What an operator should know of an event although it was applied."""
    if reading.kind != "subscription":
        return None
    if reading.data["status"] not in KNOWN_STATUSES:
        return f"The status {reading.data['status'][:40]} is unknown: the last known state stands."
    unmapped = [item["price"] for item in reading.data["items"] if item["sold"] is None]
    return f"No product is mapped to {', '.join(unmapped)}." if unmapped else None


def _purchase_key(db: Session, origin: Origin, reading: Reading) -> str | None:
    """The purchase an object belongs to: its subscription where there is one, else its session.

    None for a refund, dispute or invoice payment whose payment is not known yet.
    """
    data = reading.data
    if reading.kind == "subscription":
        return reading.object_id
    if reading.kind == "session":
        return str(data["subscription"]) if data["subscription"] else reading.object_id
    if reading.kind == "invoice":
        return str(data["subscription"]) if data["subscription"] else None
    refs, awaited = payment_refs(data), _awaited_payment(reading)
    known = purchase_behind(db, refs=refs, **origin.scope)
    if known is None and awaited is not None and not await_purchase(db, ref=awaited, **origin.scope):
        return purchase_behind(db, refs=refs, **origin.scope)
    return known


def _awaited_payment(reading: Reading) -> str | None:
    """What will tell the purchase of a payment; none where it names nothing.

    An invoice payment waits for its invoice, which tells the subscription but names no payment.
    """
    data = reading.data
    ref = data["invoice"] if reading.kind == "invoice_payment" else data["payment_intent"] or data["charge"]
    return ref if isinstance(ref, str) else None


def _wait(db: Session, origin: Origin, reading: Reading, now: datetime) -> Applied:
    """Keep a fact whose purchase is not known yet; a settling read of its payment finds it."""
    if reading.kind == "invoice":
        return Applied(EventStatus.IGNORED, "The invoice belongs to no subscription.")
    ref = _awaited_payment(reading)
    if ref is None:
        return Applied(EventStatus.IGNORED, "It names no payment.")
    _record(db, origin, reading, now, waiting_for=ref)
    if reading.kind != "invoice_payment":
        request_read(db, object_id=ref, connection_id=origin.connection_id, now=now, **origin.scope)
    return Applied(EventStatus.APPLIED, "Kept until the purchase of its payment is known.")


def _taught(reading: Reading) -> set[str]:
    """The payments that a reading shows to belong to its purchase."""
    refs = payment_refs(reading.data)
    return refs | {reading.object_id} if reading.kind == "invoice" else refs


def _record(
    db: Session,
    origin: Origin,
    reading: Reading,
    now: datetime,
    *,
    purchase_key: str | None = None,
    waiting_for: str | None = None,
) -> bool:
    return record_fact(
        db,
        source=origin.source,
        source_id=origin.source_id,
        kind=reading.kind,
        object_id=reading.object_id,
        purchase_key=purchase_key,
        waiting_for=waiting_for,
        occurred_at=origin.occurred_at,
        data=reading.data,
        now=now,
        **origin.scope,
    )


def _attempt_of(db: Session, origin: Origin, reading: Reading) -> CheckoutAttempt | None:
    """The attempt behind an object, if it is one of this very connection.

    What Stripe echoes in metadata only names an attempt; whose it is stands in our own row.
    """
    named = reading.data.get("attempt")
    if isinstance(named, str):
        attempt = attempt_by_id(db, attempt_id=named, **origin.scope)
        if attempt is not None and attempt.connection_id == origin.connection_id:
            return attempt
    scope = {**origin.scope, "connection_id": origin.connection_id}
    if reading.kind == "session":
        return attempt_of_session(db, session_id=reading.object_id, **scope)
    if reading.kind in {"subscription", "invoice"}:
        subscription_id = reading.data["subscription"] if reading.kind == "invoice" else reading.object_id
        return attempt_of_subscription(db, subscription_id=subscription_id, **scope)
    return None


def _link_subject(db: Session, purchase: Purchase, attempt: CheckoutAttempt | None) -> None:
    if attempt is None or purchase.subject_id is not None:
        return
    purchase.subject_id, purchase.attempt_id = attempt.subject_id, attempt.id
    db.flush()


def _add_what_was_sold(
    db: Session, origin: Origin, reading: Reading, attempt: CheckoutAttempt | None
) -> None:
    """Write into the fact what its price meant at this time, so that the projection needs no catalog."""
    if reading.kind == "session" and attempt is not None:
        reading.data["sold"] = attempt.sold
        reading.data["quantity"] = attempt.quantity
    if reading.kind == "subscription":
        for item in reading.data["items"]:
            item["sold"] = _sold_as(db, origin, item["price"], attempt)


def _sold_as(
    db: Session, origin: Origin, price_id: str, attempt: CheckoutAttempt | None
) -> dict[str, Any] | None:
    if attempt is not None and attempt.sold["stripe_price_id"] == price_id:
        return attempt.sold
    product = product_by_price(db, price_id=price_id, **origin.scope)
    if product is None or product.kind is not Kind.SUBSCRIPTION:
        return None
    return as_sold(product)


def _settle(
    facts: Sequence[Fact], attempt: CheckoutAttempt, subject: Subject, reading: Reading, now: datetime
) -> None:
    told = [fact for fact in facts if fact.kind == "session"]
    settle_attempt(
        attempt,
        session_id=told[0].object_id if told else None,
        sessions=[fact.data for fact in told],
        never_paid=any(f.kind == "subscription" and f.data["status"] == "incomplete_expired" for f in facts),
        paid_at=min((f.occurred_at for f in told if f.data["payment_status"] in SETTLED), default=None),
        now=now,
    )
    if reading.kind == "subscription" or reading.data["status"] == "complete":
        link_customer(subject, stripe_customer_id=reading.data["customer"], email=reading.data.get("email"))
