"""Verbs of selling: open a Checkout Session once, whatever breaks."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, update

from licenzy.catalog.rules import as_sold
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.checkout.offers import sellable
from licenzy.checkout.queries import attempt_by_id
from licenzy.checkout.rules import PricedProduct, Returns, redirect_problem, stripe_params
from licenzy.connections.actions import access
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.db.unit_of_work import Database
from licenzy.errors import (
    DatabaseUnavailable,
    InvalidRedirectUrl,
    LicenzyError,
)
from licenzy.idempotency.actions import CallKey, begin, bind_attempt, finish, free
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import Clock, rfc3339
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.models import ProjectSide
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import SessionFacts, StripeAccess, StripeGateway
from licenzy.stripe_gateway.translate import StripeObjectMissing, was_answered
from licenzy.subjects.actions import ensure_subject, forget_customer
from licenzy.subjects.queries import subject_by_id

_CREATED = 201


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """What a merchant's backend asks to sell."""

    subject_ref: str
    product_code: str
    success_url: str | None = None
    cancel_url: str | None = None
    customer_email: str | None = None
    quantity: int = 1
    price_label: str | None = None


@dataclass(frozen=True, slots=True)
class Seller:
    """The parts of the installation that selling needs."""

    database: Database
    gateway: StripeGateway
    secret_box: SecretBox
    clock: Clock
    base_url: str


@dataclass(frozen=True, slots=True)
class Sold:
    """The outcome of a call to sell: the stored answer, and whether it was stored before."""

    outcome: Outcome
    replayed: bool

    @property
    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.outcome.body)
        return answer


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is needed to ask Stripe, read and written before asking."""

    attempt: CheckoutAttempt
    access: StripeAccess
    holder: str


def open_session(seller: Seller, *, request: CheckoutRequest, call_key: CallKey, body_hash: str) -> Sold:
    """Open a Checkout Session for a subject and product, exactly once per Idempotency-Key.

    The attempt is written before Stripe is asked and no write is held open meanwhile. A repeat after a
    crash, a timeout or an unreadable answer asks Stripe the same under the same key and gets the same
    session. Raises the refusals in api/operations.py and Stripe's; they store nothing and free the key.
    """
    with seller.database.write() as db:
        prepared = _prepare(db, seller, request, call_key, body_hash)
    if isinstance(prepared, Outcome):
        return Sold(prepared, replayed=True)
    try:
        session = _ask_stripe(seller, request, call_key.scope, prepared)
        with seller.database.write() as db:
            return Sold(_opened(db, prepared, session, request, call_key, seller.clock()), replayed=False)
    except BaseException:
        _free(seller, call_key, prepared.holder)
        raise


def _free(seller: Seller, call_key: CallKey, holder: str) -> None:
    """Free the key, whatever went wrong: a repeat is safe even where a session may exist by now.

    The key stays bound to its attempt, and the attempt to its parameters and its key at Stripe. What made the
    call fail may be the database: then the lease frees the key, and the failure itself is what is told.
    """
    with suppress(DatabaseUnavailable), seller.database.write() as db:
        free(db, call_key, holder=holder)


def _prepare(
    db: Session, seller: Seller, request: CheckoutRequest, call_key: CallKey, body_hash: str
) -> _Prepared | Outcome:
    now = seller.clock()
    begun = begin(db, call_key, body_hash=body_hash, now=now)
    if begun.replay is not None:
        return begun.replay
    connection = connection_of(db, call_key.scope)
    attempt = _bound_attempt(db, call_key.scope, begun.attempt_id)
    if attempt is None or (attempt.status is AttemptStatus.CREATED and attempt.reason is not None):
        # Nothing exists at Stripe for it: look at the set-up as it is now.
        priced = sellable(
            db,
            call_key.scope,
            code=request.product_code,
            label=request.price_label,
            connection=connection,
            base_url=seller.base_url,
        )
        returns = _returns(db, call_key.scope, request, seller.base_url)
        attempt = _write_attempt(db, attempt, priced, connection, request, returns, call_key, now)
    assert connection is not None
    return _Prepared(attempt, access(seller.gateway, seller.secret_box, connection), begun.holder)


def _bound_attempt(db: Session, scope: Scope, attempt_id: str | None) -> CheckoutAttempt | None:
    if attempt_id is None:
        return None
    return attempt_by_id(db, scope, attempt_id=attempt_id)


def _returns(db: Session, scope: Scope, request: CheckoutRequest, base_url: str) -> Returns:
    """The caller's addresses, else the project's defaults, else our own page."""
    side = db.get(ProjectSide, (scope.project_id, scope.mode))
    hosts = side.redirect_hosts if side else []
    for name, url in (("success_url", request.success_url), ("cancel_url", request.cancel_url)):
        problem = redirect_problem(url, mode=scope.mode, hosts=hosts) if url is not None else None
        if problem:
            raise InvalidRedirectUrl(f"{name} {problem}.", fields={name: problem})
    own = f"{base_url}/checkout"
    return Returns(
        request.success_url or (side and side.success_url) or f"{own}/done",
        request.cancel_url or (side and side.cancel_url) or f"{own}/canceled",
    )


def _write_attempt(
    db: Session,
    attempt: CheckoutAttempt | None,
    priced: PricedProduct,
    connection: Connection | None,
    request: CheckoutRequest,
    returns: Returns,
    call_key: CallKey,
    now: datetime,
) -> CheckoutAttempt:
    assert connection is not None
    subject = ensure_subject(db, call_key.scope, subject_ref=request.subject_ref, now=now)
    attempt_id = attempt.id if attempt else new_id("att")
    product, price = priced.product, priced.price
    sold = as_sold(product, price_id=price.stripe_price_id)
    params = stripe_params(
        priced,
        attempt_id=attempt_id,
        subject_ref=request.subject_ref,
        quantity=request.quantity,
        returns=returns,
        customer_id=subject.stripe_customer_id,
        customer_email=request.customer_email,
    )
    if attempt is None:
        attempt = CheckoutAttempt(
            id=attempt_id,
            project_id=call_key.scope.project_id,
            mode=call_key.scope.mode,
            connection_id=connection.id,
            subject_id=subject.id,
            product_id=product.id,
            product_code=product.product_code,
            sold=sold,
            price_label=price.label,
            quantity=request.quantity,
            stripe_params=params,
            created_at=now,
            updated_at=now,
        )
        db.add(attempt)
        bind_attempt(db, call_key, attempt_id=attempt_id)
    else:
        attempt.sold, attempt.stripe_params, attempt.reason = sold, params, None
        attempt.product_id, attempt.price_label, attempt.updated_at = product.id, price.label, now
    db.flush()
    return attempt


def _ask_stripe(seller: Seller, request: CheckoutRequest, scope: Scope, prepared: _Prepared) -> SessionFacts:
    attempt = prepared.attempt
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
        email = request.customer_email or (subject.email if subject else None)
        params = {k: v for k, v in attempt.stripe_params.items() if k not in {"customer", "customer_update"}}
        if email:
            params["customer_email"] = email
        if params["mode"] == "payment":
            params["customer_creation"] = "always"
        attempt.stripe_params, attempt.reason = params, None
    return _create(seller, prepared)


def _create(seller: Seller, prepared: _Prepared) -> SessionFacts:
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


def _opened(
    db: Session,
    prepared: _Prepared,
    session: SessionFacts,
    request: CheckoutRequest,
    call_key: CallKey,
    now: datetime,
) -> Outcome:
    attempt = prepared.attempt
    # Column by column, since the session's own events may have settled the attempt in the meantime.
    here = (
        col(CheckoutAttempt.id) == attempt.id,
        col(CheckoutAttempt.project_id) == call_key.scope.project_id,
        col(CheckoutAttempt.mode) == call_key.scope.mode,
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
    answer = {
        "checkout_url": session.url,
        "attempt_id": attempt.id,
        "stripe_checkout_session_id": session.id,
        "subject_ref": request.subject_ref,
        "product_code": request.product_code,
        "mode": call_key.scope.mode.value,
        "expires_at": rfc3339(session.expires_at),
    }
    stored = Outcome(_CREATED, json.dumps(answer, ensure_ascii=False))
    finish(db, call_key, holder=prepared.holder, outcome=stored)
    return stored
