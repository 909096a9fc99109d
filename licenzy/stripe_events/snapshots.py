"""Reading a touched object from Stripe and recording what it says as a snapshot."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial

from sqlmodel import Session

from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_by_id
from licenzy.connections.rate_limit import paced_access
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.events import Change, ChangeCause
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.queries import purchase_of, recorded_sessions
from licenzy.errors import CustomerErased, LicenzyError
from licenzy.kit.backoff import Random
from licenzy.kit.clock import Clock
from licenzy.kit.secret_box import SecretBox
from licenzy.stripe_events.ownership import was_sold_by_session
from licenzy.stripe_events.paid_periods import PaidPeriods, apply_paid_periods, read_paid_periods
from licenzy.stripe_events.pipeline import apply_found
from licenzy.stripe_events.read import (
    Found,
    Origin,
    payment_found,
    session_found,
    subscription_found,
    unknown_word,
)
from licenzy.stripe_events.settling import ReadClaim, claim_due_read, last_event_at, read_done, read_failed
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.stripe_gateway.translate import StripeObjectMissing


def settle_next(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    *,
    clock: Clock,
    random: Random = random.random,
) -> bool:
    """Do the settling read that has been due longest; False when none is due."""
    return settle_one(database, gateway, secret_box, clock=clock, random=random) is not None


def settle_one(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    *,
    clock: Clock,
    random: Random,
    connection_id: str | None = None,
) -> list[Change] | None:
    """Do a settling read, of one connection where one is named; what it changed, None when none is due.

    When Stripe cannot be reached, does not know the object or tells it in a way that cannot be read, the
    projected state stands, the reason is kept with the request, and all but the second are tried again.
    """
    claimed = database.retrying(lambda db: _claim(db, clock(), connection_id))
    if claimed is None:
        return None
    claim, last_event, lacking, connection = claimed
    began = clock()
    try:
        at = paced_access(database, gateway, secret_box, connection)
        found, read_at, paid = _ask(gateway, at, claim.object_id, lacking)
    except LicenzyError as problem:
        database.retrying(partial(_fail, claim=claim, problem=problem, now=clock(), random=random))
        return []
    as_of = read_at or began + timedelta(seconds=connection.clock_offset_seconds)
    if last_event is not None:
        # What Stripe sent before the read is covered by it, whatever a clock says.
        as_of = max(as_of, last_event)
    try:
        return database.retrying(
            partial(_settle, claim=claim, found=found, paid=paid, as_of=as_of, now=clock())
        )
    except CustomerErased:
        database.retrying(lambda db: read_done(db, claim, now=clock()))
        return []


def record_snapshot(
    db: Session,
    claim: ReadClaim,
    found: Found,
    *,
    as_of: datetime,
    now: datetime,
    cause: ChangeCause | None = None,
    announced: bool = True,
) -> list[Change]:
    """Write what was read as facts numbered by the claim, and project the purchase; what changed.

    `cause` and `announced` are those of `apply_found`.
    """
    origin = Origin(
        claim.scope,
        connection_id=claim.connection_id,
        source=FactSource.SNAPSHOT,
        source_id=f"snapshot:{claim.object_id}:{claim.snapshot}",
        occurred_at=found.occurred_at or as_of,
    )
    numbered = found.numbered(claim.snapshot)
    return apply_found(db, origin, numbered, now=now, cause=cause, announced=announced)


def _claim(
    db: Session, now: datetime, connection_id: str | None
) -> tuple[ReadClaim, datetime | None, Lacking | None, Connection] | None:
    """The read to do next, and where to read it.

    With it the latest instant of which events have told so far, and what else Stripe has to be asked.
    """
    claim = claim_due_read(db, now=now, connection_id=connection_id)
    if claim is None:
        return None
    connection = connection_by_id(db, connection_id=claim.connection_id)
    assert connection is not None
    return claim, last_event_at(db, claim), _lacking(db, claim), connection


class Lacking(Enum):
    """What is not known of a claimed subscription, and only Stripe can tell."""

    SESSIONS = auto()
    """Which session made it: only its metadata names the attempt."""
    PAID_PERIODS = auto()
    """What was paid before: it was adopted by the project's setting, and never read."""


def _lacking(db: Session, claim: ReadClaim) -> Lacking | None:
    if not claim.object_id.startswith("sub_"):
        return None
    purchase = purchase_of(db, claim.scope, key=claim.object_id)
    if purchase is None or purchase.subject_id is None:
        return None
    if purchase.attempt_id is not None:
        sessions = recorded_sessions(db, claim.scope, purchase_key=claim.object_id)
        return None if was_sold_by_session(sessions) else Lacking.SESSIONS
    if claim.snapshot > 1:
        return None
    return Lacking.PAID_PERIODS


def _settle(
    db: Session,
    *,
    claim: ReadClaim,
    found: Found | None,
    paid: PaidPeriods | None,
    as_of: datetime,
    now: datetime,
) -> list[Change]:
    changes: list[Change] = []
    if paid is not None:
        changes += apply_paid_periods(
            db, claim.scope, paid, connection_id=claim.connection_id, read_at=as_of, now=now
        )
    changes += [] if found is None else record_snapshot(db, claim, found, as_of=as_of, now=now)
    read_done(db, claim, now=now, problem=unknown_word(found))
    return changes


def _fail(db: Session, *, claim: ReadClaim, problem: LicenzyError, now: datetime, random: Random) -> None:
    read_failed(
        db,
        claim,
        problem=problem.message,
        give_up=isinstance(problem, StripeObjectMissing),
        now=now,
        random=random,
        not_before=problem.retry_after,
    )


def _ask(
    gateway: StripeGateway, at: StripeAccess, object_id: str, lacking: Lacking | None
) -> tuple[Found | None, datetime | None, PaidPeriods | None]:
    """What Stripe says of the object, and when by its clock; None for a payment that paid for no purchase."""
    if object_id.startswith("sub_"):
        sessions = gateway.sessions_of(at, object_id) if lacking is Lacking.SESSIONS else None
        read = gateway.subscription(at, object_id)
        paid = read_paid_periods(gateway, at, read.value) if lacking is Lacking.PAID_PERIODS else None
        return subscription_found(read.value, sessions=sessions), read.at, paid
    if object_id.startswith("cs_"):
        session, lines = gateway.checkout_session(at, object_id), gateway.session_lines(at, object_id)
        return session_found(session, lines=lines), None, None
    payment = gateway.payment(at, object_id)
    found = payment_found(
        session=payment.session,
        invoice=payment.invoice,
        invoice_payment=payment.invoice_payment,
        refs=frozenset(payment.refs),
    )
    return found, payment.at, None
