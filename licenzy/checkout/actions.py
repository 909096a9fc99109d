"""Verbs of selling: open a Checkout Session once, whatever breaks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select, update

from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.checkout.preparation import Call, CheckoutRequest, Prepared, Seller, free_key, prepare
from licenzy.errors import LicenzyError
from licenzy.idempotency.actions import CallKey, finish
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import rfc3339
from licenzy.stripe_gateway.client import SessionFacts
from licenzy.stripe_gateway.translate import StripeObjectMissing, was_answered
from licenzy.subjects.actions import forget_customer
from licenzy.subjects.queries import subject_by_id

_CREATED = 201


@dataclass(frozen=True, slots=True)
class Sold:
    """The outcome of a call to sell: the stored answer, and whether it was stored before."""

    outcome: Outcome
    replayed: bool

    @property
    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.outcome.body)
        return answer


def open_session(seller: Seller, *, request: CheckoutRequest, call_key: CallKey, body_hash: str) -> Sold:
    """Open a Checkout Session for a subject and product, exactly once per Idempotency-Key.

    The attempt is written before Stripe is asked and no write is held open meanwhile. A repeat after a
    crash, a timeout or an unreadable answer asks Stripe the same under the same key and gets the same
    session. Raises the refusals in api/operations.py and Stripe's; they store nothing and free the key.
    """
    call = Call(request, call_key, body_hash)
    prepared = prepare(seller, call)
    if isinstance(prepared, Outcome):
        return Sold(prepared, replayed=True)
    try:
        session = _ask_stripe(seller, call, prepared)
        with seller.database.write() as db:
            if _opened(db, prepared.attempt, session, seller.clock()):
                return Sold(_finished(db, prepared, session, call), replayed=False)
        # A later checkout of the customer offers the trial: of two sessions only that one may be paid.
        seller.gateway.close_checkout_session(prepared.access, session.id)
        with seller.database.write() as db:
            return Sold(_finished(db, prepared, session, call), replayed=False)
    except BaseException:
        free_key(seller, call_key, prepared.holder)
        raise


def _ask_stripe(seller: Seller, call: Call, prepared: Prepared) -> SessionFacts:
    attempt, scope = prepared.attempt, call.key.scope
    try:
        return _create(seller, prepared)
    except StripeObjectMissing as missing:
        _refused(seller, attempt, missing)
        if "customer" not in attempt.stripe_params or "customer" not in missing.message:
            raise
    # Stripe no longer knows the customer we had: forget it and ask once more with the e-mail address.
    with seller.database.write() as db:
        forget_customer(db, scope, subject_id=attempt.subject_id)
        db.add(attempt)
        subject = subject_by_id(db, scope, subject_id=attempt.subject_id)
        email = call.request.customer_email or (subject.email if subject else None)
        params = {k: v for k, v in attempt.stripe_params.items() if k not in {"customer", "customer_update"}}
        if email:
            params["customer_email"] = email
        if params["mode"] == "payment":
            params["customer_creation"] = "always"
        attempt.stripe_params, attempt.reason = params, None
    return _create(seller, prepared)


def _create(seller: Seller, prepared: Prepared) -> SessionFacts:
    attempt = prepared.attempt
    try:
        return seller.gateway.create_checkout_session(
            prepared.access, attempt.stripe_params, idempotency_key=f"{attempt.id}:{attempt.stripe_try}"
        )
    except StripeObjectMissing:
        raise
    except LicenzyError as refusal:
        _refused(seller, attempt, refusal)
        raise


def _refused(seller: Seller, attempt: CheckoutAttempt, refusal: LicenzyError) -> None:
    """Note that Stripe answered an error, so that the next try is a new one for Stripe."""
    if not was_answered(refusal):
        return
    with seller.database.write() as db:
        db.add(attempt)
        attempt.stripe_try += 1
        attempt.reason = str(refusal.extra.get("stripe_code") or refusal.code)
        attempt.updated_at = seller.clock()


def _opened(db: Session, attempt: CheckoutAttempt, session: SessionFacts, now: datetime) -> bool:
    """Note the session on its attempt; False when the attempt was closed before there was a session."""
    # Column by column, since the session's own events may have settled the attempt in the meantime.
    here = (
        col(CheckoutAttempt.id) == attempt.id,
        col(CheckoutAttempt.project_id) == attempt.project_id,
        col(CheckoutAttempt.mode) == attempt.mode,
    )
    db.exec(
        update(CheckoutAttempt)
        .where(*here)
        .values(
            stripe_checkout_session_id=session.id,
            checkout_url=session.url,
            expires_at=session.expires_at,
            sold={
                **attempt.sold,
                "opened_amount": session.amount_total,
                "opened_subtotal": session.amount_subtotal,
            },
            updated_at=now,
        )
    )
    db.exec(
        update(CheckoutAttempt)
        .where(*here, col(CheckoutAttempt.status) == AttemptStatus.CREATED)
        .values(status=AttemptStatus.OPEN)
    )
    closed = db.exec(
        select(CheckoutAttempt.id).where(*here, col(CheckoutAttempt.status) == AttemptStatus.FAILED)
    )
    return closed.first() is None


def _finished(db: Session, prepared: Prepared, session: SessionFacts, call: Call) -> Outcome:
    attempt, request = prepared.attempt, call.request
    answer: dict[str, Any] = {
        "checkout_url": session.url,
        "attempt_id": attempt.id,
        "stripe_checkout_session_id": session.id,
        "subject_ref": request.subject_ref,
        "product_code": None if request.items else request.product_code,
        "mode": call.key.scope.mode.value,
        "expires_at": rfc3339(session.expires_at),
    }
    if attempt.items_sold is not None:
        answer["items"] = [
            {name: item[name] for name in ("product_code", "quantity", "price_label")}
            for item in attempt.items_sold
        ]
    if attempt.trial_days is not None:
        answer["trial_days"] = attempt.trial_days
    stored = Outcome(_CREATED, json.dumps(answer, ensure_ascii=False))
    finish(db, call.key, holder=prepared.holder, outcome=stored)
    return stored
