"""Checkouts that were open when their customer was erased are expired at Stripe, as far as it answers."""

from __future__ import annotations

import time
from datetime import datetime

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.checkout.trials import close_attempts
from licenzy.connections.credentials import access
from licenzy.connections.models import Connection
from licenzy.db.reads import read_all
from licenzy.db.unit_of_work import Database
from licenzy.errors import LicenzyError
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.stripe_gateway.translate import StripeObjectMissing, was_answered

_SECONDS = 15.0
"""How long Stripe is called for one customer's checkouts before the rest is left to the next pass."""


def open_checkouts(db: Session, scope: Scope, *, subject_id: str, now: datetime) -> list[str]:
    """The ids at Stripe of the customer's sessions that can still be paid, as far as is known here."""
    attempts = _open_attempts(db, scope, subject_id=subject_id, now=now)
    return [str(attempt.stripe_checkout_session_id) for attempt in attempts]


def expire_checkouts(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    subject_id: str,
    now: datetime,
) -> None:
    """Expire what is open. What Stripe does not do stays open: a payment of it is ignored."""
    with database.read() as db:
        attempts = _open_attempts(db, scope, subject_id=subject_id, now=now)
        connections = {each: db.get_one(Connection, each) for each in {row.connection_id for row in attempts}}
    ends_at, closed = time.monotonic() + _SECONDS, []
    for attempt in attempts:
        if time.monotonic() > ends_at:
            break
        try:
            at = access(gateway, secret_box, connections[attempt.connection_id])
            status = gateway.close_checkout_session(at, str(attempt.stripe_checkout_session_id))
        except StripeObjectMissing:
            status = "expired"
        except LicenzyError as refusal:
            if was_answered(refusal):
                continue
            break  # Each of the others would wait as long.
        if status == "expired":
            closed.append(attempt.id)
    if closed:
        database.retrying(lambda db: close_attempts(db, scope, attempt_ids=closed))


@read_all
def _open_attempts(scope: Scope, *, subject_id: str, now: datetime) -> SelectOfScalar[CheckoutAttempt]:
    return select(CheckoutAttempt).where(
        CheckoutAttempt.project_id == scope.project_id,
        CheckoutAttempt.mode == scope.mode,
        CheckoutAttempt.subject_id == subject_id,
        CheckoutAttempt.status == AttemptStatus.OPEN,
        col(CheckoutAttempt.stripe_checkout_session_id).is_not(None),
        col(CheckoutAttempt.expires_at) > now,
    )
