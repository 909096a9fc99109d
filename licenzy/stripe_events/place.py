"""Whose it is: the purchase that readings belong to, held, with its subject and the attempts behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, false, null, select, true
from sqlalchemy import Table as SqlTable
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import ProductTerms, as_sold
from licenzy.checkout.models import CheckoutAttempt
from licenzy.checkout.queries import NAMED_BY, SoldAttempt, sold_attempt
from licenzy.db.upsert import table_of
from licenzy.deliveries.queries import somebody_listens
from licenzy.entitlements.actions import begin_purchase, lock_purchase
from licenzy.entitlements.links import await_purchase, key_behind
from licenzy.entitlements.models import FactSource, Purchase
from licenzy.entitlements.projected import payment_refs
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.stripe_events.read import Found, Nothing
from licenzy.stripe_gateway.shapes import Reading
from licenzy.subjects.actions import Customer
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
class Placed:
    """Readings of one purchase, which is held until the transaction ends."""

    origin: Origin
    purchase: LockedPurchase
    readings: Sequence[Reading]
    """With what their prices meant at this time, so that the projection needs no catalog."""
    attempts: Sequence[SoldAttempt | None]
    """The attempt behind each of the readings."""
    payments: frozenset[str]
    """The payments that the readings show to belong to the purchase."""
    subject: Customer | None
    """Whose it is, held; None where nobody is known yet, or payments have to be written first."""
    is_heard: bool
    """Whether an endpoint was there that could be told of changes."""

    @property
    def was_known(self) -> bool:
        """Whether the purchase had a subject before this transaction."""
        return self.purchase.subject_id is not None and not self.purchase.is_new


@dataclass(frozen=True, slots=True)
class Waiting:
    """A reading whose purchase is not known yet, and the payment that will tell it."""

    origin: Origin
    reading: Reading
    ref: str


def place_told(db: Session, origin: Origin, reading: Reading, *, now: datetime) -> Placed | Waiting | Nothing:
    """Where what an event, or a list of Stripe's, says of one object belongs."""
    if reading.kind in _OF_PAYMENTS:
        return _place_payment(db, origin, reading, now)
    key = _purchase_key(reading)
    if key is None:
        return Nothing("The invoice belongs to no subscription.")
    return _place(db, origin, (reading,), key, _taught(reading), now)


def place_found(db: Session, origin: Origin, found: Found, *, now: datetime) -> Placed:
    """Where what Stripe said when it was asked belongs."""
    payments = found.payments.union(*map(_taught, found.readings))
    return _place(db, origin, found.readings, found.purchase_key, payments, now)


_OF_PAYMENTS = frozenset({"invoice_payment", "charge", "refund", "dispute"})


def _purchase_key(reading: Reading) -> str | None:
    """The purchase an object belongs to: its subscription where there is one, else its session."""
    if reading.kind == "subscription":
        return reading.object_id
    subscription: str | None = reading.data["subscription"]
    return subscription or (reading.object_id if reading.kind == "session" else None)


def _taught(reading: Reading) -> frozenset[str]:
    """The payments that a reading shows to belong to its purchase."""
    own = {reading.object_id} if reading.kind == "invoice" else set()
    return frozenset(payment_refs(reading.data) | own)


def _place_payment(
    db: Session, origin: Origin, reading: Reading, now: datetime
) -> Placed | Waiting | Nothing:
    """A refund, dispute or invoice payment belongs where its payment does, once that is known."""
    refs, awaited = _taught(reading), _awaited_payment(reading)
    known = _look(db, origin, (reading,), None, refs)
    if known.key is None and awaited is not None and not await_purchase(db, ref=awaited, **origin.scope):
        known = _look(db, origin, (reading,), None, refs)
    if known.key is not None:
        return _placed(db, origin, (reading,), known, known.key, refs, now)
    return Nothing("It names no payment.") if awaited is None else Waiting(origin, reading, awaited)


def _awaited_payment(reading: Reading) -> str | None:
    """What will tell the purchase of a payment; none where it names nothing.

    An invoice payment waits for its invoice, which tells the subscription but names no payment.
    """
    data = reading.data
    ref = data["invoice"] if reading.kind == "invoice_payment" else data["payment_intent"] or data["charge"]
    return ref if isinstance(ref, str) else None


def _place(
    db: Session,
    origin: Origin,
    readings: Sequence[Reading],
    key: str,
    payments: frozenset[str],
    now: datetime,
) -> Placed:
    known = _look(db, origin, readings, key, payments)
    return _placed(db, origin, readings, known, key, payments, now)


def _placed(
    db: Session,
    origin: Origin,
    readings: Sequence[Reading],
    known: _Known,
    key: str,
    payments: frozenset[str],
    now: datetime,
) -> Placed:
    attempts = _attempts(db, origin, readings, known)
    purchase = known.purchase
    if purchase is None:
        owner = next((each for each in attempts if each is not None), None)
        purchase = begin_purchase(
            db,
            **origin.scope,
            key=key,
            subject_id=owner.subject_id if owner else None,
            attempt_id=owner.id if owner else None,
            now=now,
        )
    if purchase is None:
        # Somebody else has begun it, or it is nobody's yet. What was read before it was held may be old.
        purchase = lock_purchase(db, **origin.scope, key=key, now=now)
        known = _look(db, origin, readings, key, payments)
        purchase, attempts = known.purchase or purchase, _attempts(db, origin, readings, known)
    sold = tuple(
        _with_what_was_sold(reading, attempt, known.products)
        for reading, attempt in zip(readings, attempts, strict=True)
    )
    return Placed(origin, purchase, sold, attempts, payments, known.subject, known.is_heard)


# --- what was sold, pure -----------------------------------------------------------------------------


def _with_what_was_sold(
    reading: Reading, attempt: SoldAttempt | None, products: Mapping[str, ProductTerms]
) -> Reading:
    if reading.kind == "session" and attempt is not None:
        return reading.with_data(sold=attempt.sold, quantity=attempt.quantity)
    if reading.kind == "subscription":
        items = [
            {**item, "sold": _sold_as(item["price"], attempt, products)} for item in reading.data["items"]
        ]
        return reading.with_data(items=items)
    return reading


def _sold_as(
    price_id: str, attempt: SoldAttempt | None, products: Mapping[str, ProductTerms]
) -> dict[str, Any] | None:
    if attempt is not None and attempt.sold["stripe_price_id"] == price_id:
        return attempt.sold
    product = products.get(price_id)
    return as_sold(product) if product is not None and product.kind is Kind.SUBSCRIPTION else None


# --- the attempts ------------------------------------------------------------------------------------


def _attempts(
    db: Session, origin: Origin, readings: Sequence[Reading], known: _Known
) -> tuple[SoldAttempt | None, ...]:
    """The attempt behind each object, if it is one of this very connection.

    What Stripe echoes in metadata only names an attempt; whose it is stands in our own row.
    """
    first, *others = readings
    found: dict[tuple[str, str], SoldAttempt | None] = {}
    for name in _names(first)[:1]:
        found[name] = known.attempt
    return tuple(_attempt_of(db, origin, reading, found) for reading in (first, *others))


def _attempt_of(
    db: Session, origin: Origin, reading: Reading, found: dict[tuple[str, str], SoldAttempt | None]
) -> SoldAttempt | None:
    for by, name in _names(reading):
        if (by, name) not in found:
            found[by, name] = sold_attempt(
                db, **origin.scope, connection_id=origin.connection_id, by=by, name=name
            )
        if found[by, name] is not None:
            return found[by, name]
    return None


def _names(reading: Reading) -> list[tuple[str, str]]:
    """What names the attempt behind an object, the surest first."""
    named = reading.data.get("attempt")
    names = [("attempt", named)] if isinstance(named, str) else []
    if reading.kind == "session":
        names.append(("session", reading.object_id))
    elif reading.kind in {"subscription", "invoice"}:
        subscription = reading.object_id if reading.kind == "subscription" else reading.data["subscription"]
        names.append(("subscription", subscription))
    return names


# --- the one joined read -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database knows of readings, at one look."""

    key: str | None
    """The purchase's; None while no purchase of the payment is known."""
    purchase: LockedPurchase | None
    subject: Customer | None
    attempt: SoldAttempt | None
    """By the surest name of the first reading."""
    products: Mapping[str, ProductTerms]
    """By price, those that the readings name."""
    is_heard: bool


def _look(
    db: Session, origin: Origin, readings: Sequence[Reading], key: str | None, payments: frozenset[str]
) -> _Known:
    """One read: the purchase, held, its subject, the attempt and the products that prices are mapped to.

    Without `key` the purchase is the one that any of the payments belongs to. Where there are payments the
    subject is not held yet: their rows are written before that, in the one order in which all take locks.
    """
    names = _names(readings[0])[:1]
    prices = sorted(
        {item["price"] for each in readings if each.kind == "subscription" for item in each.data["items"]}
    )
    statement = _looking(
        by=names[0][0] if names else None,
        by_payment=key is None,
        holds_subject=not payments,
        priced=bool(prices),
    )
    values = {
        **origin.scope,
        "connection_id": origin.connection_id,
        "key": key,
        "refs": sorted(payments),
        "name": names[0][1] if names else None,
        "prices": prices,
    }
    db.flush()
    rows = db.connection().execute(statement, values).all()
    key_, is_heard, *first = rows[0]
    held, customer, attempt = first[:4], first[4:7], first[7:11]
    purchase = LockedPurchase(origin.project_id, origin.mode, *held) if held[0] is not None else None
    products: dict[str, ProductTerms] = {}
    for row in rows if prices else ():
        product = ProductTerms._make(row[-len(ProductTerms._fields) :])
        products.setdefault(product.stripe_price_id, product)
    return _Known(
        key_,
        purchase,
        Customer._make(customer) if customer[0] is not None else None,
        SoldAttempt._make(attempt) if attempt[0] is not None else None,
        products,
        bool(is_heard),
    )


_PURCHASES, _SUBJECTS = table_of(Purchase), table_of(Subject)
_ATTEMPTS, _PRODUCTS = table_of(CheckoutAttempt), table_of(Product)


@lru_cache(maxsize=32)
def _looking(*, by: str | None, by_payment: bool, holds_subject: bool, priced: bool) -> Select[Any]:
    """The statement of a look, made once for each shape that it has."""
    project_id: Any = bindparam("project_id")
    mode: Any = bindparam("mode")
    key: Any = bindparam("key", type_=_PURCHASES.c.key.type)
    if by_payment:
        key = key_behind(project_id, mode, bindparam("refs", expanding=True)).scalar_subquery()
    asked = select(key.label("key"), somebody_listens(project_id, mode).label("is_heard")).subquery("asked")
    held = _held(key, holds_subject=holds_subject).subquery("held")
    named = _ATTEMPTS.c[NAMED_BY[by]] == bindparam("name") if by else false()
    joined = asked.outerjoin(held, true()).outerjoin(
        _ATTEMPTS,
        and_(_here(_ATTEMPTS), _ATTEMPTS.c.connection_id == bindparam("connection_id"), named),
    )
    columns = [*asked.c, *held.c, *(_ATTEMPTS.c[name] for name in SoldAttempt._fields)]
    if not priced:
        return select(*columns).select_from(joined)
    prices = _PRODUCTS.c.stripe_price_id.in_(bindparam("prices", expanding=True))
    return (
        select(*columns, *(_PRODUCTS.c[name] for name in ProductTerms._fields))
        .select_from(joined.outerjoin(_PRODUCTS, and_(_here(_PRODUCTS), prices)))
        .order_by(_PRODUCTS.c.created_at, _PRODUCTS.c.id)
    )


def _held(key: Any, *, holds_subject: bool) -> Select[Any]:
    """The purchase, held. Together with its subject only where it has one."""
    purchase = [_PURCHASES.c[name] for name in ("key", "subject_id", "attempt_id", "finalized_at")]
    if not holds_subject:
        nobody = [null().label(name) for name in Customer._fields]
        found = select(*purchase, *nobody).where(_here(_PURCHASES), _PURCHASES.c.key == key)
        return found.with_for_update(of=_PURCHASES)
    whose = and_(_here(_SUBJECTS), _SUBJECTS.c.id == _PURCHASES.c.subject_id)
    return (
        select(*purchase, *(_SUBJECTS.c[name] for name in Customer._fields))
        .join_from(_PURCHASES, _SUBJECTS, whose)
        .where(_here(_PURCHASES), _PURCHASES.c.key == key)
        .with_for_update(of=[_PURCHASES, _SUBJECTS])
    )


def _here(table: SqlTable) -> Any:
    return and_(table.c.project_id == bindparam("project_id"), table.c.mode == bindparam("mode"))
