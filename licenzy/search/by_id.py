"""Records by their ids, whole and as they are cased: those of Licenzy and those of Stripe that it keeps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, or_, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.api_keys.queries import keys, refusal_of_request
from licenzy.api_keys.rules import masked
from licenzy.catalog.models import Product, ProductPrice
from licenzy.checkout.models import CheckoutAttempt
from licenzy.connections.queries import with_clock
from licenzy.db.reads import read_all, read_first
from licenzy.deliveries.models import Delivery, OutboundEvent, WebhookEndpoint
from licenzy.entitlements.models import PaymentLink, Purchase
from licenzy.entitlements.queries import holders_of
from licenzy.kit.clock import from_micros
from licenzy.kit.ids import has_shape, milliseconds_of
from licenzy.projects.scope import Scope
from licenzy.search.hits import MOST_SHOWN, Hit, HitGroup, customer_hit, product_hit
from licenzy.stripe_events.models import StripeEvent, UntrackedCheckout
from licenzy.stripe_events.queries import event_by_id
from licenzy.stripe_events.untracked_queries import untracked_by_id, untracked_of_event
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id, subjects_of_stripe_customer
from licenzy.usage.models import LedgerRow, Reservation

Finder: TypeAlias = Callable[[Session, Scope, str], list[Hit]]

_ID = re.compile(r"([a-z]{2,5})_[A-Za-z0-9_]{1,249}")
_BEFORE_REQUEST, _AFTER_REQUEST = timedelta(minutes=1), timedelta(minutes=10)
"""How far the clocks of two processes may differ, and how long a request may take until it is recorded."""
_NO_TIME = 1 << 46
"""In milliseconds, in the year 4199: no request was made then, and dates end some thousand years later."""


def is_id(text: str) -> bool:
    """Whether the text could be an id that `find_by_id` looks for."""
    return bool(_finders(text))


def find_by_id(db: Session, scope: Scope, *, text: str) -> list[Hit]:
    """The records with this id, mostly one; none where the text is no id."""
    for find in _finders(text):
        if hits := find(db, scope, text):
            return hits
    return []


def _finders(text: str) -> Sequence[Finder]:
    shape = _ID.fullmatch(text)
    return _FINDERS.get(shape[1], ()) if shape is not None else ()


def _customers(found: Subject | None) -> list[Hit]:
    return [customer_hit(found)] if found is not None else []


def _by_subject_id(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _customers(subject_by_id(db, scope, subject_id=name))


def _by_stripe_customer(db: Session, scope: Scope, name: str) -> list[Hit]:
    found = subjects_of_stripe_customer(db, scope, stripe_customer_id=name, limit=MOST_SHOWN)
    return [customer_hit(each) for each in found]


def _by_entitlement(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _customers(holders_of(db, scope, entitlement_ids=[name]).get(name))


def _by_purchase(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _customers(_buyer(db, scope, key=name))


@read_first
def _buyer(scope: Scope, *, key: str) -> SelectOfScalar[Subject]:
    return (
        select(Subject)
        .join(Purchase)
        .where(Purchase.project_id == scope.project_id, Purchase.mode == scope.mode, Purchase.key == key)
    )


def _by_payment(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _customers(_payer(db, scope, ref=name))


@read_first
def _payer(scope: Scope, *, ref: str) -> SelectOfScalar[Subject]:
    return (
        select(Subject)
        .join(Purchase)
        .join(
            PaymentLink,
            (col(PaymentLink.project_id) == Purchase.project_id)
            & (col(PaymentLink.mode) == Purchase.mode)
            & (col(PaymentLink.purchase_key) == Purchase.key),
        )
        .where(
            PaymentLink.project_id == scope.project_id, PaymentLink.mode == scope.mode, PaymentLink.ref == ref
        )
    )


def _by_attempt(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _attempts(_attempt_with_id(db, scope, name=name))


def _by_session(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _attempts(_attempt_with_session(db, scope, name=name))


def _by_attempted_subscription(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _attempts(_attempt_with_subscription(db, scope, name=name))


def _attempts(found: tuple[CheckoutAttempt, Subject] | None) -> list[Hit]:
    if found is None:
        return []
    attempt, subject = found
    detail = f"{attempt.product_codes} for {subject.subject_ref}, {attempt.status.value}"
    return [Hit(HitGroup.ATTEMPTS, subject.id, attempt.id, detail)]


@read_first
def _attempt_with_id(scope: Scope, *, name: str) -> Select[CheckoutAttempt, Subject]:
    return _attempt(
        CheckoutAttempt.project_id == scope.project_id,
        CheckoutAttempt.mode == scope.mode,
        CheckoutAttempt.id == name,
    )


@read_first
def _attempt_with_session(scope: Scope, *, name: str) -> Select[CheckoutAttempt, Subject]:
    return _attempt(
        CheckoutAttempt.project_id == scope.project_id,
        CheckoutAttempt.mode == scope.mode,
        CheckoutAttempt.stripe_checkout_session_id == name,
    )


@read_first
def _attempt_with_subscription(scope: Scope, *, name: str) -> Select[CheckoutAttempt, Subject]:
    return _attempt(
        CheckoutAttempt.project_id == scope.project_id,
        CheckoutAttempt.mode == scope.mode,
        CheckoutAttempt.stripe_subscription_id == name,
    )


def _attempt(*named: Any) -> Select[CheckoutAttempt, Subject]:
    return select(CheckoutAttempt, Subject).join(Subject).where(*named).limit(1)


def _by_stripe_event(db: Session, scope: Scope, name: str) -> list[Hit]:
    found = event_by_id(db, scope, event_id=name)
    return [Hit(HitGroup.STRIPE_EVENTS, found.event_id, found.event_id, found.type)] if found else []


def _by_object(db: Session, scope: Scope, name: str) -> list[Hit]:
    """Events about an object that belongs to no customer yet: they are all that is known of it."""
    found = _event_about(db, scope, object_id=name)
    return [Hit(HitGroup.EVENTS_ABOUT, name, name, "Stripe events about this object")] if found else []


@read_first
def _event_about(scope: Scope, *, object_id: str) -> SelectOfScalar[str]:
    return (
        select(StripeEvent.event_id)
        .where(
            StripeEvent.project_id == scope.project_id,
            StripeEvent.mode == scope.mode,
            StripeEvent.object_id == object_id,
        )
        .limit(1)
    )


def _by_untracked_id(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _untracked(untracked_by_id(db, scope, untracked_id=name))


def _by_untracked_object(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _untracked(untracked_of_event(db, scope, object_id=name))


def _untracked(found: UntrackedCheckout | None) -> list[Hit]:
    return [
        Hit(HitGroup.UNTRACKED, each.id, each.session_id or each.purchase_key, each.email or "")
        for each in [found]
        if each is not None
    ]


def _by_product(db: Session, scope: Scope, name: str) -> list[Hit]:
    return [product_hit(each) for each in _products_named(db, scope, name=name, limit=MOST_SHOWN)]


@read_all
def _products_named(scope: Scope, *, name: str, limit: int) -> SelectOfScalar[Product]:
    return (
        select(Product)
        .where(
            Product.project_id == scope.project_id,
            Product.mode == scope.mode,
            or_(Product.id == name, col(Product.id).in_(_priced_as(scope, name))),
        )
        .order_by(Product.product_code)
        .limit(limit)
    )


def _priced_as(scope: Scope, name: str) -> SelectOfScalar[str]:
    """The products that have this price of Stripe's, or a price of this product of Stripe's."""
    return select(ProductPrice.product_id).where(
        ProductPrice.project_id == scope.project_id,
        ProductPrice.mode == scope.mode,
        or_(
            ProductPrice.id == name,
            col(ProductPrice.stripe_price_id) == name,
            col(ProductPrice.stripe_product_id) == name,
        ),
    )


def _by_endpoint(db: Session, scope: Scope, name: str) -> list[Hit]:
    found = _endpoint(db, scope, name=name)
    return [Hit(HitGroup.ENDPOINTS, found.id, found.url, found.description)] if found else []


@read_first
def _endpoint(scope: Scope, *, name: str) -> SelectOfScalar[WebhookEndpoint]:
    return select(WebhookEndpoint).where(
        WebhookEndpoint.project_id == scope.project_id,
        WebhookEndpoint.mode == scope.mode,
        WebhookEndpoint.id == name,
        col(WebhookEndpoint.deleted_at).is_(None),
    )


def _by_delivery(db: Session, scope: Scope, name: str) -> list[Hit]:
    return [_delivery(*each) for each in _deliveries(db, scope, name=name)]


@read_all
def _deliveries(scope: Scope, *, name: str) -> Select[Delivery, str]:
    return (
        select(Delivery, WebhookEndpoint.url)
        .join(WebhookEndpoint, col(WebhookEndpoint.id) == Delivery.endpoint_id)
        .where(Delivery.project_id == scope.project_id, Delivery.mode == scope.mode, Delivery.id == name)
    )


def _by_outbound_event(db: Session, scope: Scope, name: str) -> list[Hit]:
    found = _deliveries_of(db, scope, event_id=name, limit=MOST_SHOWN)
    return [_delivery(*each) for each in found]


@read_all
def _deliveries_of(scope: Scope, *, event_id: str, limit: int) -> Select[Delivery, str]:
    """One event's way to each endpoint; the event holds them to the side."""
    return (
        select(Delivery, WebhookEndpoint.url)
        .join(OutboundEvent)
        .join(WebhookEndpoint, col(WebhookEndpoint.id) == Delivery.endpoint_id)
        .where(
            OutboundEvent.project_id == scope.project_id,
            OutboundEvent.mode == scope.mode,
            OutboundEvent.id == event_id,
        )
        .order_by(col(Delivery.id).desc())
        .limit(limit)
    )


def _delivery(delivery: Delivery, url: str) -> Hit:
    return Hit(HitGroup.DELIVERIES, delivery.id, f"{delivery.type.value} to {url}", delivery.status.value)


def _by_request(db: Session, scope: Scope, name: str) -> list[Hit]:
    """Whose units a call took. No index leads from a request to its rows, but its id holds its time."""
    if not has_shape(name, "req") or milliseconds_of(name) >= _NO_TIME:
        return []
    made = from_micros(milliseconds_of(name) * 1000)
    # The clock of a sandbox account runs ahead by what it is moved, which may have been less then.
    latest = with_clock(db, scope).at(made + _AFTER_REQUEST)
    return _customers(_consumer(db, scope, name=name, since=made - _BEFORE_REQUEST, until=latest))


@read_first
def _consumer(scope: Scope, *, name: str, since: datetime, until: datetime) -> SelectOfScalar[Subject]:
    return (
        select(Subject)
        .join(LedgerRow, _of_subject(LedgerRow))
        .where(
            LedgerRow.project_id == scope.project_id,
            LedgerRow.mode == scope.mode,
            LedgerRow.used_at >= since,
            LedgerRow.used_at <= until,
            LedgerRow.request_id == name,
        )
        .limit(1)
    )


def _by_refusal(db: Session, scope: Scope, name: str) -> list[Hit]:
    found = refusal_of_request(db, scope, request_id=name)
    if found is None:
        return []
    detail = f"{found.method} {found.path}: {found.status} {found.code}"
    return [Hit(HitGroup.REFUSALS, found.key_id, found.request_id, detail)]


def _by_api_key(db: Session, scope: Scope, name: str) -> list[Hit]:
    return [
        Hit(HitGroup.API_KEYS, key.id, key.name, masked(key.mode, key.last_four))
        for key in keys(db, scope)
        if key.id == name
    ]


def _by_reservation(db: Session, scope: Scope, name: str) -> list[Hit]:
    return _customers(_reserver(db, scope, name=name))


@read_first
def _reserver(scope: Scope, *, name: str) -> SelectOfScalar[Subject]:
    return (
        select(Subject)
        .join(Reservation, _of_subject(Reservation))
        .where(
            Reservation.project_id == scope.project_id, Reservation.mode == scope.mode, Reservation.id == name
        )
    )


def _of_subject(model: type[LedgerRow | Reservation]) -> ColumnElement[bool]:
    """Their rows name a subject, though no foreign key says so: to check one would be to lock the subject."""
    return and_(
        col(model.project_id) == Subject.project_id,
        col(model.mode) == Subject.mode,
        col(model.subject_id) == Subject.id,
    )


_FINDERS: dict[str, Sequence[Finder]] = {
    "sbj": (_by_subject_id,),
    "att": (_by_attempt,),
    "ent": (_by_entitlement,),
    "rsv": (_by_reservation,),
    "req": (_by_request, _by_refusal),
    "key": (_by_api_key,),
    "unt": (_by_untracked_id,),
    "prd": (_by_product,),
    "whe": (_by_endpoint,),
    "dlv": (_by_delivery,),
    "evt": (_by_stripe_event, _by_outbound_event),
    "cus": (_by_stripe_customer, _by_object),
    "cs": (_by_session, _by_purchase, _by_untracked_object, _by_object),
    "sub": (_by_purchase, _by_attempted_subscription, _by_untracked_object, _by_object),
    "ppr": (_by_product,),
    "price": (_by_product, _by_object),
    "plan": (_by_product, _by_object),
    "prod": (_by_product, _by_object),
    **dict.fromkeys(("pi", "in", "ch", "py", "re", "pyr", "dp", "du"), (_by_payment, _by_object)),
}
"""By the prefix of an id, what may have it: the first that finds something is what is meant."""
