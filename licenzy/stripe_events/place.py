"""Whose it is: the purchase that readings belong to, held, with its subject and the attempts behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.catalog.rules import MappedTerms
from licenzy.checkout.outcomes import claim_subscription
from licenzy.checkout.queries import SoldAttempt, sold_attempt
from licenzy.entitlements.actions import begin_purchase, lock_purchase
from licenzy.entitlements.links import await_purchase
from licenzy.entitlements.projected import payment_refs
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.stripe_events.lookup import Known, attempt_names, find_known
from licenzy.stripe_events.ownership import is_behind, lacks_proof
from licenzy.stripe_events.read import Found, Nothing, Origin
from licenzy.stripe_gateway.shapes import Reading
from licenzy.subjects.actions import Customer


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
    has_endpoints: bool
    """Whether an endpoint was there that could be told of changes."""
    lacks_proof: bool = False
    """Whether only metadata says so far that an attempt sold the subscription."""
    disowned: str | None = None
    """The attempt that the purchase names in metadata, where another session than the attempt's made it."""

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


def place_reading(
    db: Session, origin: Origin, reading: Reading, *, now: datetime
) -> Placed | Waiting | Nothing:
    """Where what an event, or a list of Stripe's, says of one object belongs."""
    if reading.kind in _OF_PAYMENTS:
        return _place_payment(db, origin, reading, now)
    key = _purchase_key(reading)
    if key is None:
        return Nothing("The invoice belongs to no subscription.")
    return _place(db, origin, (reading,), key, _with_payments(reading), now)


def place_found(db: Session, origin: Origin, found: Found, *, now: datetime) -> Placed:
    """Where what Stripe said when it was asked belongs."""
    payments = found.payments.union(*map(_with_payments, found.readings))
    placed = _place(db, origin, found.readings, found.purchase_key, payments, now)
    if not found.has_sessions:
        return placed
    pairs = list(zip(placed.readings, placed.attempts, strict=True))
    if any(reading.kind == "session" and attempt is not None for reading, attempt in pairs):
        return replace(placed, lacks_proof=False)
    named = next((attempt.id for attempt in placed.attempts if attempt is not None), None)
    return replace(placed, attempts=[None] * len(pairs), lacks_proof=False, disowned=named)


_OF_PAYMENTS = frozenset({"invoice_payment", "charge", "refund", "dispute"})


def _purchase_key(reading: Reading) -> str | None:
    """The purchase an object belongs to: its subscription where there is one, else its session."""
    if reading.kind == "subscription":
        return reading.object_id
    subscription: str | None = reading.data["subscription"]
    return subscription or (reading.object_id if reading.kind == "session" else None)


def _with_payments(reading: Reading) -> frozenset[str]:
    """The payments that a reading shows to belong to its purchase."""
    own = {reading.object_id} if reading.kind == "invoice" else set()
    return frozenset(payment_refs(reading.data) | own)


def _place_payment(
    db: Session, origin: Origin, reading: Reading, now: datetime
) -> Placed | Waiting | Nothing:
    """A refund, dispute or invoice payment belongs where its payment does, once that is known."""
    refs, awaited = _with_payments(reading), _awaited_payment(reading)
    known = find_known(db, origin, (reading,), None, refs)
    if known.key is None and awaited is not None and not await_purchase(db, origin.scope, ref=awaited):
        known = find_known(db, origin, (reading,), None, refs)
    if known.key is not None:
        return _placed(db, origin, (reading,), known, known.key, refs, now)
    return Nothing("It belongs to no payment.") if awaited is None else Waiting(origin, reading, awaited)


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
    known = find_known(db, origin, readings, key, payments)
    return _placed(db, origin, readings, known, key, payments, now)


def _placed(
    db: Session,
    origin: Origin,
    readings: Sequence[Reading],
    known: Known,
    key: str,
    payments: frozenset[str],
    now: datetime,
) -> Placed:
    attempts = _attempts(db, origin, readings, known, known.purchase)
    purchase = known.purchase
    if purchase is None:
        owner = next((each for each in attempts if each is not None), None)
        if owner is not None and lacks_proof(owner, readings[0]):
            owner = None  # It is given its subject once the attempt's row says so too.
        purchase = begin_purchase(
            db,
            origin.scope,
            key=key,
            subject_id=owner.subject_id if owner else None,
            attempt_id=owner.id if owner else None,
            now=now,
        )
    if purchase is None:
        # Somebody else has begun it, or it is nobody's yet. What was read before it was held may be old.
        purchase = lock_purchase(db, origin.scope, key=key, now=now)
        known = find_known(db, origin, readings, key, payments)
        purchase = known.purchase or purchase
        attempts = _attempts(db, origin, readings, known, purchase)
    unproven = [each for each in attempts if each is not None and lacks_proof(each, readings[0])]
    if unproven and not claim_subscription(db, origin.scope, attempt_id=unproven[0].id, subscription_id=key):
        unproven, attempts = [], (None,) * len(readings)
    sold = tuple(
        _with_what_was_sold(reading, attempt, known)
        for reading, attempt in zip(readings, attempts, strict=True)
    )
    copied = known.attempt.id if readings[0].kind == "session" and not attempts[0] and known.attempt else None
    return Placed(
        origin,
        purchase,
        sold,
        attempts,
        payments,
        known.subject,
        known.has_endpoints,
        lacks_proof=bool(unproven),
        disowned=copied,
    )


# --- what was sold, pure -----------------------------------------------------------------------------


def _with_what_was_sold(reading: Reading, attempt: SoldAttempt | None, known: Known) -> Reading:
    if reading.kind == "session" and attempt is not None:
        as_attempted = reading.with_data(sold=attempt.sold, quantity=attempt.quantity)
        if attempt.others:
            others = [{"sold": each["sold"], "quantity": each["quantity"]} for each in attempt.others]
            as_attempted = as_attempted.with_data(others=others)
        if "lines" not in reading.data:
            return as_attempted
        lines = [
            {**line, "sold": _line_sold_as(line["price"], attempt, known)} for line in reading.data["lines"]
        ]
        return as_attempted.with_data(lines=lines)
    if reading.kind == "subscription":
        items = [{**item, **_meaning(item, attempt, known)} for item in reading.data["items"]]
        return reading.with_data(items=items)
    return reading


def _line_sold_as(price_id: str | None, attempt: SoldAttempt, known: Known) -> dict[str, Any] | None:
    sold = attempt.sold_at(price_id)
    if sold is not None:
        return sold
    mapped = known.prices.get(price_id or "")
    return mapped.as_sold(price_id=mapped.stripe_price_id) if mapped is not None else None


def _meaning(item: Mapping[str, Any], attempt: SoldAttempt | None, known: Known) -> dict[str, Any]:
    """What an item's price means: as it was sold, where it is one of the attempt's own, else by the catalog.

    A price that is no product's sells nothing. It may go on with what is held here already where its Stripe
    product means one product, so that product's terms stand in for it.
    """
    price_id = item["price"]
    sold = attempt.sold_at(price_id) if attempt is not None else None
    if sold is not None:
        return {"sold": sold}
    if price_id in known.prices:
        return {"sold": _sold(known.prices[price_id], price_id)}
    return {"sold": None, "same_product": _sold(known.products.get(item["product"]), price_id)}


def _sold(mapped: MappedTerms | None, price_id: str) -> dict[str, Any] | None:
    if mapped is None or mapped.kind is not Kind.SUBSCRIPTION:
        return None
    return mapped.as_sold(price_id=price_id)


# --- the attempts ------------------------------------------------------------------------------------


def _attempts(
    db: Session,
    origin: Origin,
    readings: Sequence[Reading],
    known: Known,
    purchase: LockedPurchase | None,
) -> tuple[SoldAttempt | None, ...]:
    """The attempt behind each object, if it is one of this very connection.

    What Stripe echoes in metadata only names an attempt: `ownership` says whether it is the object's.
    """
    first, *others = readings
    found: dict[tuple[str, str], SoldAttempt | None] = {}
    for name in attempt_names(first)[:1]:
        found[name] = known.attempt
    return tuple(_attempt_of(db, origin, reading, purchase, found) for reading in (first, *others))


def _attempt_of(
    db: Session,
    origin: Origin,
    reading: Reading,
    purchase: LockedPurchase | None,
    found: dict[tuple[str, str], SoldAttempt | None],
) -> SoldAttempt | None:
    for by, name in attempt_names(reading):
        if (by, name) not in found:
            found[by, name] = sold_attempt(
                db, origin.scope, connection_id=origin.connection_id, by=by, name=name
            )
        attempt = found[by, name]
        if attempt is not None and is_behind(attempt, reading, purchase):
            return attempt
    return None
