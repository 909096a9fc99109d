"""What a checkout asks Stripe for, decided and written before Stripe is asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlmodel import Session

from licenzy.catalog.rules import as_sold
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.checkout.offers import sellable
from licenzy.checkout.queries import attempt_by_id
from licenzy.checkout.rules import PricedProduct, Returns, disagreement, redirect_problem, stripe_params
from licenzy.checkout.trials import OpenTrial, TrialOffer, close_attempts, offered_trial
from licenzy.connections.actions import access
from licenzy.connections.event_polls import poll_soon
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import fetches_events
from licenzy.db.unit_of_work import Database
from licenzy.errors import (
    DatabaseUnavailable,
    IdempotencyInProgress,
    InvalidRedirectUrl,
    InvalidRequest,
    LicenzyError,
)
from licenzy.idempotency.actions import (
    CallKey,
    begin,
    bind_attempt,
    bound_attempt_id,
    extend_lease,
    free,
)
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import Clock
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.models import ProjectSide
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.stripe_gateway.translate import StripeObjectMissing
from licenzy.subjects.actions import ensure_subject
from licenzy.subjects.models import Subject

_MOST_ROUNDS = 4
"""How often sessions that offer a trial are expired for one call, when others open new ones meanwhile."""


@dataclass(frozen=True, slots=True)
class RequestedItem:
    """One product to sell."""

    product_code: str
    quantity: int = 1
    price_label: str | None = None


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """What a merchant's backend asks to sell: one product, or several as `items`."""

    subject_ref: str
    product_code: str = ""
    success_url: str | None = None
    cancel_url: str | None = None
    customer_email: str | None = None
    quantity: int = 1
    price_label: str | None = None
    items: tuple[RequestedItem, ...] = ()

    @property
    def wanted(self) -> tuple[RequestedItem, ...]:
        """Each product that is to be sold."""
        return self.items or (RequestedItem(self.product_code, self.quantity, self.price_label),)


@dataclass(frozen=True, slots=True)
class Seller:
    """The parts of the installation that selling needs."""

    database: Database
    gateway: StripeGateway
    secret_box: SecretBox
    clock: Clock
    base_url: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `POST /v1/checkout/session`."""

    request: CheckoutRequest
    key: CallKey
    body_hash: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is needed to ask Stripe, read and written before asking."""

    attempt: CheckoutAttempt
    access: StripeAccess
    holder: str


@dataclass(frozen=True, slots=True)
class _Blocked:
    """Sessions that have to be expired at Stripe before it is known what the call offers."""

    trials: tuple[OpenTrial, ...]
    access: StripeAccess
    holder: str


def prepare(seller: Seller, call: Call) -> Prepared | Outcome:
    """The attempt with what Stripe is to be asked for, or the outcome that the call had before.

    Another session of the customer that offers a trial is expired at Stripe first, where this one offers a
    trial too. Raises the refusals that are known without Stripe, and those of expiring.
    """
    found = seller.database.retrying(partial(_begin, seller=seller, call=call))
    if isinstance(found, Outcome):
        return found
    try:
        for _ in range(_MOST_ROUNDS):
            if isinstance(found, Prepared):
                return found
            states = {each.attempt_id: _close(seller, found.access, each) for each in found.trials}
            found = seller.database.retrying(
                partial(_begin_again, seller=seller, call=call, holder=found.holder, states=states)
            )
        raise IdempotencyInProgress("Other checkouts of this customer are being created right now.")
    except BaseException:
        free_key(seller, call.key, found.holder)
        raise


def free_key(seller: Seller, key: CallKey, holder: str) -> None:
    """Free the key, whatever went wrong: a repeat is safe even where a session may exist by now.

    The key stays bound to its attempt, and the attempt to its parameters and its key at Stripe. What made the
    call fail may be the database: then the lease frees the key, and the failure itself is what is told.
    """
    with suppress(DatabaseUnavailable), seller.database.write() as db:
        free(db, key, holder=holder)


def _close(seller: Seller, at: StripeAccess, trial: OpenTrial) -> str:
    """The status in which Stripe has a session that can no longer be completed."""
    try:
        return seller.gateway.close_checkout_session(at, trial.session_id)
    except StripeObjectMissing:  # It was opened at another account: nobody can complete it.
        return "expired"


def _begin(db: Session, *, seller: Seller, call: Call) -> Prepared | _Blocked | Outcome:
    begun = begin(db, call.key, body_hash=call.body_hash, now=seller.clock())
    if begun.replay is not None:
        return begun.replay
    return _prepare(db, seller, call, _bound_attempt(db, call.key.scope, begun.attempt_id), begun.holder)


def _begin_again(
    db: Session, *, seller: Seller, call: Call, holder: str, states: dict[str, str]
) -> Prepared | _Blocked:
    extend_lease(db, call.key, holder=holder, now=seller.clock())
    completed = {each for each, status in states.items() if status == "complete"}
    close_attempts(db, call.key.scope, attempt_ids=sorted(states.keys() - completed))
    bound = _bound_attempt(db, call.key.scope, bound_attempt_id(db, call.key))
    return _prepare(db, seller, call, bound, holder, completed)


def _prepare(
    db: Session,
    seller: Seller,
    call: Call,
    attempt: CheckoutAttempt | None,
    holder: str,
    completed: Collection[str] = (),
) -> Prepared | _Blocked:
    scope, request, now = call.key.scope, call.request, seller.clock()
    connection = connection_of(db, scope)
    if attempt is None or (attempt.status is AttemptStatus.CREATED and attempt.reason is not None):
        # Nothing exists at Stripe for it: look at the set-up as it is now.
        sales = _sales(db, seller, scope, request, connection)
        returns = _returns(db, scope, request, seller.base_url)
        assert connection is not None
        subject = ensure_subject(db, scope, subject_ref=request.subject_ref, now=now)
        offer = offered_trial(
            db,
            scope,
            products=[each.product for each in sales],
            subject_id=subject.id,
            attempt_id=attempt.id if attempt is not None else None,
            completed=completed,
        )
        if offer.expire_first:
            return _Blocked(offer.expire_first, access(seller.gateway, seller.secret_box, connection), holder)
        attempt = _write_attempt(db, attempt, sales, connection, subject, offer, call, returns, now)
        if fetches_events(connection.provider, connection.mode, seller.base_url):
            poll_soon(db, connection_id=connection.id, now=now)
    assert connection is not None
    return Prepared(attempt, access(seller.gateway, seller.secret_box, connection), holder)


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


def _sales(
    db: Session, seller: Seller, scope: Scope, request: CheckoutRequest, connection: Connection | None
) -> list[PricedProduct]:
    """What the call wants to sell, at its prices. Raises the refusals that are known without Stripe."""
    sales = []
    for number, item in enumerate(request.wanted):
        try:
            priced = sellable(
                db,
                scope,
                code=item.product_code,
                label=item.price_label,
                connection=connection,
                base_url=seller.base_url,
            )
        except LicenzyError as refusal:
            if request.items:
                refusal.fields = {f"items[{number}]": refusal.message, **refusal.fields}
            raise
        sales.append(replace(priced, quantity=item.quantity))
    if problem := disagreement(sales):
        raise InvalidRequest(problem, hint="", fields={"items": problem})
    return sales


def _item_sold(sale: PricedProduct) -> dict[str, Any]:
    return {
        "product_id": sale.product.id,
        "product_code": sale.product.product_code,
        "price_label": sale.price.label,
        "quantity": sale.quantity,
        "sold": as_sold(sale.product, price_id=sale.price.stripe_price_id),
    }


def _write_attempt(
    db: Session,
    attempt: CheckoutAttempt | None,
    sales: Sequence[PricedProduct],
    connection: Connection,
    subject: Subject,
    offer: TrialOffer,
    call: Call,
    returns: Returns,
    now: datetime,
) -> CheckoutAttempt:
    request, scope = call.request, call.key.scope
    attempt_id = attempt.id if attempt else new_id("att")
    items = [_item_sold(each) for each in sales]
    params = stripe_params(
        sales,
        attempt_id=attempt_id,
        subject_ref=request.subject_ref,
        trial_days=offer.days,
        returns=returns,
        customer_id=subject.stripe_customer_id,
        customer_email=request.customer_email,
    )
    decided: dict[str, Any] = {
        **items[0],
        "items_sold": items if request.items else None,
        "trial_days": offer.days,
        "stripe_params": params,
        "updated_at": now,
    }
    if attempt is None:
        attempt = CheckoutAttempt(
            id=attempt_id,
            project_id=scope.project_id,
            mode=scope.mode,
            connection_id=connection.id,
            subject_id=subject.id,
            created_at=now,
            **decided,
        )
        db.add(attempt)
        bind_attempt(db, call.key, attempt_id=attempt_id)
    else:
        for name, value in {**decided, "reason": None}.items():
            setattr(attempt, name, value)
    if offer.is_another:
        subject.another_trial_attempt_id = attempt_id
    db.flush()
    return attempt
