"""Gathers the facts that the set-up of one side is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, literal_column
from sqlmodel import Session, SQLModel, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog import queries as catalog
from licenzy.catalog.product_facts import facts_of_product
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.checkout.queries import attempt_by_id
from licenzy.connections.queries import connection_facts, connection_of, with_clock
from licenzy.db.reads import read_first
from licenzy.entitlements.models import NO_ENTITLEMENT, Entitlement
from licenzy.errors import NotFound
from licenzy.projects.scope import Scope
from licenzy.setup.fact_collector import key_facts
from licenzy.setup.facts import EventFacts, JourneyFacts, SetupFacts
from licenzy.stripe_events.models import StripeEvent
from licenzy.subjects.models import Subject
from licenzy.usage.access import access_of


def setup_facts(db: Session, scope: Scope, *, base_url: str, now: datetime) -> SetupFacts:
    """Everything known about one side of a project, where this installation has this address."""
    other = connection_of(db, scope.other)
    attempt = _proving_attempt(db, scope)
    keys = key_facts(db, scope, now=now)
    return SetupFacts(
        mode=scope.mode,
        now=now,
        connection=connection_facts(db, scope, has_trials=catalog.has_trials(db, scope), base_url=base_url),
        products=tuple(map(facts_of_product, catalog.products(db, scope))),
        keys=tuple(key for key in keys if key.usable),
        journey=None if attempt is None else _journey(db, attempt, now=now),
        other_side_connected=other is not None and other.key_sealed is not None,
    )


def journey_facts(db: Session, scope: Scope, *, attempt_id: str, now: datetime) -> JourneyFacts:
    """One purchase on its way. Raises NotFound."""
    attempt = attempt_by_id(db, scope, attempt_id=attempt_id)
    if attempt is None:
        raise NotFound("This checkout attempt does not exist in this mode.")
    return _journey(db, attempt, now=now)


def has_granted(db: Session, scope: Scope) -> bool:
    """Whether any purchase on this side has granted something."""
    return _granting_attempt_id(db, scope) is not None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is on one side."""

    subjects: int
    purchases: int
    """Checkout attempts that were paid."""
    attempts: int
    entitlements: int
    events: int


def counts(db: Session, scope: Scope) -> Counts:
    """What one side holds, counted."""

    def count(table: type[SQLModel], *narrowed: ColumnElement[bool]) -> int:
        here = (literal_column("project_id") == scope.project_id, literal_column("mode") == scope.mode.value)
        return db.exec(select(func.count()).select_from(table).where(*here, *narrowed)).one()

    return Counts(
        subjects=count(Subject),
        purchases=count(CheckoutAttempt, col(CheckoutAttempt.status) == AttemptStatus.PAID),
        attempts=count(CheckoutAttempt),
        entitlements=count(Entitlement, col(Entitlement.source).not_in(NO_ENTITLEMENT)),
        events=count(StripeEvent),
    )


def _proving_attempt(db: Session, scope: Scope) -> CheckoutAttempt | None:
    """The last attempt that granted something, else the last one of all."""
    granted = _granting_attempt_id(db, scope)
    if granted is not None:
        found = attempt_by_id(db, scope, attempt_id=granted)
        if found is not None:
            return found
    return _last_attempt(db, scope)


@read_first
def _granting_attempt_id(scope: Scope) -> SelectOfScalar[str | None]:
    return (
        select(col(Entitlement.attempt_id))
        .where(
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
            col(Entitlement.attempt_id).is_not(None),
        )
        .order_by(col(Entitlement.created_at).desc())
        .limit(1)
    )


@read_first
def _last_attempt(scope: Scope) -> SelectOfScalar[CheckoutAttempt]:
    return (
        select(CheckoutAttempt)
        .where(CheckoutAttempt.project_id == scope.project_id, CheckoutAttempt.mode == scope.mode)
        .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
        .limit(1)
    )


def _journey(db: Session, attempt: CheckoutAttempt, *, now: datetime) -> JourneyFacts:
    scope = with_clock(db, Scope.of(attempt))
    subject = db.get_one(Subject, (attempt.project_id, attempt.mode, attempt.subject_id))
    entitlement = _entitlement_of(db, scope, subject_id=subject.id, attempt_id=attempt.id)
    access = access_of(
        db,
        scope,
        subject_refs=[subject.subject_ref],
        now=scope.at(now),
        asked_at=now,
    )[subject.subject_ref]
    event = _event_of(db, attempt, first=entitlement is not None)
    return JourneyFacts(
        attempt_id=attempt.id,
        subject_ref=subject.subject_ref,
        product_code=attempt.product_code,
        status=attempt.status,
        reason=attempt.reason,
        created_at=attempt.created_at,
        session_id=attempt.stripe_checkout_session_id,
        checkout_url=attempt.checkout_url,
        expires_at=attempt.expires_at,
        event=event,
        entitlement_id=entitlement.id if entitlement else None,
        granted_at=_granted_at(entitlement, event),
        allowed=access.allowed,
        refusal=access.reason,
        last_event_at=_last_event_at(db, scope, since=attempt.created_at),
        subject_id=subject.id,
        product_codes=attempt.product_codes,
    )


def _event_of(db: Session, attempt: CheckoutAttempt, *, first: bool) -> EventFacts | None:
    """The event that tells of the attempt: the newest about its session, while that granted nothing.

    Once it did, the `first` about the session or its subscription, whose own events come earlier.
    """
    about = [attempt.stripe_checkout_session_id]
    if first:
        about.append(attempt.stripe_subscription_id)
    arrival = col(StripeEvent.id)
    event = db.exec(
        select(StripeEvent)
        .where(
            StripeEvent.project_id == attempt.project_id,
            StripeEvent.mode == attempt.mode,
            col(StripeEvent.object_id).in_([object_id for object_id in about if object_id]),
        )
        .order_by(arrival if first else arrival.desc())
        .limit(1)
    ).first()
    if event is None:
        return None
    return EventFacts(event.event_id, event.type, event.status, event.note, event.received_at, event.fetched)


def _granted_at(entitlement: Entitlement | None, event: EventFacts | None) -> datetime | None:
    """When we granted it: an entitlement counts from the payment at Stripe, which we heard of later."""
    if entitlement is None:
        return None
    return max(entitlement.created_at, event.received_at) if event else entitlement.created_at


@read_first
def _entitlement_of(scope: Scope, *, subject_id: str, attempt_id: str) -> SelectOfScalar[Entitlement]:
    return (
        select(Entitlement)
        .where(
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
            Entitlement.subject_id == subject_id,
            Entitlement.attempt_id == attempt_id,
        )
        .order_by(col(Entitlement.created_at), col(Entitlement.id))
        .limit(1)
    )


@read_first
def _last_event_at(scope: Scope, *, since: datetime) -> SelectOfScalar[datetime]:
    return (
        select(StripeEvent.received_at)
        .where(
            StripeEvent.project_id == scope.project_id,
            StripeEvent.mode == scope.mode,
            col(StripeEvent.received_at) >= since,
        )
        .order_by(col(StripeEvent.received_at).desc())
        .limit(1)
    )
