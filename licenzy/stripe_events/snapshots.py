"""Reading a touched object from Stripe and recording what it says as a snapshot."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from functools import partial

from sqlmodel import Session

from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_by_id
from licenzy.connections.rate_limit import paced_access
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.events import Change
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.queries import purchase_of, recorded_sessions
from licenzy.errors import LicenzyError
from licenzy.kit.backoff import Random
from licenzy.kit.clock import Clock
from licenzy.kit.secret_box import SecretBox
from licenzy.stripe_events.ownership import was_sold_by_session
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
    claim, last_event, lacks_proof, connection = claimed
    began = clock()
    try:
        at = paced_access(database, gateway, secret_box, connection)
        found, read_at = _ask(gateway, at, claim.object_id, with_sessions=lacks_proof)
    except LicenzyError as problem:
        database.retrying(partial(_fail, claim=claim, problem=problem, now=clock(), random=random))
        return []
    as_of = read_at or began + timedelta(seconds=connection.clock_offset_seconds)
    if last_event is not None:
        # What Stripe sent before the read is covered by it, whatever a clock says.
        as_of = max(as_of, last_event)
    return database.retrying(partial(_settle, claim=claim, found=found, as_of=as_of, now=clock()))


def record_snapshot(
    db: Session, claim: ReadClaim, found: Found, *, as_of: datetime, now: datetime
) -> list[Change]:
    """Write what was read as facts numbered by the claim, and project the purchase; what changed."""
    origin = Origin(
        claim.scope,
        connection_id=claim.connection_id,
        source=FactSource.SNAPSHOT,
        source_id=f"snapshot:{claim.object_id}:{claim.snapshot}",
        occurred_at=found.occurred_at or as_of,
    )
    return apply_found(db, origin, found.numbered(claim.snapshot), now=now)


def _claim(
    db: Session, now: datetime, connection_id: str | None
) -> tuple[ReadClaim, datetime | None, bool, Connection] | None:
    """The read to do next, and where to read it.

    With it the latest instant of which events have told so far, and whether Stripe has to be asked which
    session made the subscription, because only its metadata names the attempt.
    """
    claim = claim_due_read(db, now=now, connection_id=connection_id)
    if claim is None:
        return None
    connection = connection_by_id(db, connection_id=claim.connection_id)
    assert connection is not None
    return claim, last_event_at(db, claim), _lacks_proof(db, claim), connection


def _lacks_proof(db: Session, claim: ReadClaim) -> bool:
    """Whether only its metadata says so far which attempt sold a claimed subscription."""
    if not claim.object_id.startswith("sub_"):
        return False
    purchase = purchase_of(db, claim.scope, key=claim.object_id)
    if purchase is None or purchase.subject_id is None or purchase.attempt_id is None:
        return False
    return not was_sold_by_session(recorded_sessions(db, claim.scope, purchase_key=claim.object_id))


def _settle(
    db: Session, *, claim: ReadClaim, found: Found | None, as_of: datetime, now: datetime
) -> list[Change]:
    changes = [] if found is None else record_snapshot(db, claim, found, as_of=as_of, now=now)
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
    gateway: StripeGateway, at: StripeAccess, object_id: str, *, with_sessions: bool
) -> tuple[Found | None, datetime | None]:
    """What Stripe says of the object, and when by its clock; None for a payment that paid for no purchase."""
    if object_id.startswith("sub_"):
        sessions = gateway.sessions_of(at, object_id) if with_sessions else None
        read = gateway.subscription(at, object_id)
        return subscription_found(read.value, sessions=sessions), read.at
    if object_id.startswith("cs_"):
        session, lines = gateway.checkout_session(at, object_id), gateway.session_lines(at, object_id)
        return session_found(session, lines=lines), None
    payment = gateway.payment(at, object_id)
    found = payment_found(
        session=payment.session,
        invoice=payment.invoice,
        invoice_payment=payment.invoice_payment,
        refs=frozenset(payment.refs),
    )
    return found, payment.at
