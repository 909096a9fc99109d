"""Writing down what was placed: facts, payments, what became of attempts, and the reads asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from licenzy.checkout.outcomes import settle_attempt
from licenzy.checkout.queries import SoldAttempt, lock_subscription_of
from licenzy.entitlements.actions import FactDraft, give_purchase, record_facts
from licenzy.entitlements.links import link_payments
from licenzy.entitlements.projected import SETTLED, FactLike
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.entitlements.queries import recorded_facts
from licenzy.entitlements.subscriptions import first_paid_at
from licenzy.errors import CustomerErased
from licenzy.projects.scope import Scope
from licenzy.stripe_events.ownership import session_opened, was_sold_by_session
from licenzy.stripe_events.place import Placed, Waiting
from licenzy.stripe_events.read import Origin
from licenzy.stripe_events.settling import request_read
from licenzy.stripe_gateway.shapes import Reading
from licenzy.subjects.actions import Customer, link_customer, lock_customer
from licenzy.subjects.erased import is_erased_name


@dataclass(frozen=True, slots=True)
class Recorded:
    """A purchase with everything that is known of it."""

    purchase: LockedPurchase
    facts: Sequence[FactLike]
    """All of its facts; none are read while nobody is known to have bought it."""
    new_facts: frozenset[tuple[str, str]]
    """Source id and kind of the facts that are new, or newly of a known subject."""
    displaced: str | None = None
    """The subscription that the attempt was linked to, where its session now says that it made another."""


def record(db: Session, placed: Placed, *, now: datetime) -> Recorded:
    """Record the readings as facts of their purchase, and what follows from them beside its projection.

    Raises CustomerErased, by which what was written of it is undone.
    """
    origin, purchase = placed.origin, placed.purchase
    owner = next((each for each in placed.attempts if each is not None), None)
    if purchase.subject_id is None and owner is not None:
        purchase = give_purchase(db, purchase, subject_id=owner.subject_id, attempt_id=owner.id)
    drafts = [_draft(origin, reading, purchase_key=purchase.key) for reading in placed.readings]
    new_facts = record_facts(db, origin.scope, drafts, now=now)
    link_payments(db, origin.scope, refs=placed.payments, purchase_key=purchase.key)
    if purchase.subject_id is None:
        return Recorded(purchase, (), frozenset(new_facts))
    subject = placed.subject or lock_customer(db, origin.scope, subject_id=purchase.subject_id)
    if is_erased_name(subject.subject_ref):
        raise CustomerErased
    facts = recorded_facts(db, origin.scope, purchase_key=purchase.key)
    displaced: str | None = None
    for reading, attempt in zip(placed.readings, placed.attempts, strict=True):
        if attempt is None:
            continue
        if reading.kind == "session":
            displaced = displaced or _displaced(db, origin.scope, reading, attempt)
        if reading.kind in {"session", "subscription"}:
            subject = _sold(db, placed, reading, attempt, facts, subject, now)
        elif _may_be_paid_after_all(reading, facts):
            _settle(db, placed.origin.scope, attempt, facts, now)
    if not placed.was_known:
        new_facts = {(fact.source_id, fact.kind) for fact in facts}
    return Recorded(purchase, facts, frozenset(new_facts), displaced)


def _displaced(db: Session, scope: Scope, reading: Reading, attempt: SoldAttempt) -> str | None:
    """The subscription that the attempt is linked to, when its Checkout Session made another one."""
    made = reading.data["subscription"]
    if made is None or made == attempt.stripe_subscription_id:
        return None
    linked = lock_subscription_of(db, scope, attempt_id=attempt.id)
    return linked if linked != made else None


def _may_be_paid_after_all(reading: Reading, facts: Sequence[FactLike]) -> bool:
    """Whether an invoice may decide what became of the attempt, because no session of it was paid."""
    sessions = [fact for fact in facts if fact.kind == "session"]
    return reading.kind == "invoice" and not any(f.data["payment_status"] in SETTLED for f in sessions)


def record_waiting(db: Session, waiting: Waiting, *, now: datetime) -> None:
    """Keep a fact whose purchase is not known yet; a settling read of its payment finds it.

    An invoice payment asks for none: its invoice is about to be told.
    """
    origin, reading = waiting.origin, waiting.reading
    record_facts(db, origin.scope, [_draft(origin, reading, waiting_for=waiting.ref)], now=now)
    if reading.kind != "invoice_payment":
        ask_for_read(db, origin, waiting.ref, now=now)


def ask_for_read(db: Session, origin: Origin, object_id: str, *, now: datetime) -> None:
    """Have an object that was told of read from Stripe once more."""
    request_read(db, origin.scope, object_id=object_id, connection_id=origin.connection_id, now=now)


def _draft(
    origin: Origin, reading: Reading, *, purchase_key: str | None = None, waiting_for: str | None = None
) -> FactDraft:
    return FactDraft(
        origin.source,
        origin.source_id,
        reading.kind,
        reading.object_id,
        origin.occurred_at,
        reading.data,
        purchase_key,
        waiting_for,
    )


def _sold(
    db: Session,
    placed: Placed,
    reading: Reading,
    attempt: SoldAttempt,
    facts: Sequence[FactLike],
    subject: Customer,
    now: datetime,
) -> Customer:
    """What became of the attempt, and who its buyer is at Stripe."""
    if not _was_settled_before(placed, reading, attempt):
        _settle(db, placed.origin.scope, attempt, facts, now)
    if reading.kind == "session" and reading.data["status"] != "complete":
        return subject
    if reading.kind == "subscription" and not was_sold_by_session(facts):
        return subject  # Its metadata may be copied: a stranger's customer would stay with the subject.
    customer, email = reading.data["customer"], reading.data.get("email")
    return link_customer(db, placed.origin.scope, subject, stripe_customer_id=customer, email=email)


def _was_settled_before(placed: Placed, reading: Reading, attempt: SoldAttempt) -> bool:
    """Whether a state of the subscription can tell nothing new of an attempt: only its first ones do."""
    return (
        placed.was_known
        and placed.purchase.attempt_id == attempt.id
        and reading.kind == "subscription"
        and reading.data["status"] not in _NEVER_PAID
    )


def _settle(
    db: Session, scope: Scope, attempt: SoldAttempt, facts: Sequence[FactLike], now: datetime
) -> None:
    reported = [fact for fact in facts if fact.kind == "session"]
    opened = [session_opened(fact.object_id, fact.data.get("recovered_from")) for fact in reported]
    statuses = {fact.data["status"] for fact in facts if fact.kind == "subscription"}
    settle_attempt(
        db,
        scope,
        attempt_id=attempt.id,
        session_id=opened[0] if opened else None,
        sessions=[fact.data for fact in reported],
        never_paid=next((reason for status, reason in _NEVER_PAID.items() if status in statuses), None),
        invoice_paid_at=first_paid_at(facts),
        paid_at=min((f.occurred_at for f in reported if f.data["payment_status"] in SETTLED), default=None),
        now=now,
    )


_NEVER_PAID = {
    "incomplete_expired": "incomplete_expired",
    "unpaid": "payment_failed",
    "past_due": "payment_failed",
}
"""The statuses of a subscription that has no paid invoice, and what its attempt failed of."""
