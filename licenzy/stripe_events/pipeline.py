"""The one way of what Stripe says: read, place, record, project, announce.

Each stage takes what the one before it made, and none goes back. Events enter at the first;
settling reads, adoptions and walks, which know what they read, at the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlmodel import Session

from licenzy.catalog.queries import sold_product_id
from licenzy.checkout.outcomes import release_subscription
from licenzy.checkout.queries import sold_attempt
from licenzy.deliveries.models import Source
from licenzy.entitlements import statuses
from licenzy.entitlements.actions import (
    disown_purchase,
    lock_purchase,
    project_purchase,
    withdraw_purchase,
)
from licenzy.entitlements.events import Change, ChangeCause
from licenzy.entitlements.links import is_known_here
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.entitlements.queries import recorded_facts
from licenzy.observations.actions import probe_again
from licenzy.stripe_events.known_customers import ADOPTED_BY_SETTING, adopt_of_known_customer
from licenzy.stripe_events.mapped_prices import note_unmapped
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.ownership import was_sold_by_session
from licenzy.stripe_events.place import Placed, Waiting, place_found, place_reading
from licenzy.stripe_events.queries import note_on_session
from licenzy.stripe_events.read import CatalogChange, Found, Nothing, Origin, nothing_depends_on, read
from licenzy.stripe_events.record import Recorded, ask_for_read, record, record_waiting
from licenzy.stripe_events.remarks import remark_on
from licenzy.stripe_events.untracked import (
    SubscriptionState,
    is_kept,
    keep_session,
    keep_subscriptions,
    latest_state,
)
from licenzy.stripe_gateway.shapes import Event, Reading, is_name
from licenzy.stripe_gateway.values import Unreadable, id_of, mapping


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an event."""

    status: EventStatus
    note: str | None = None
    changes: list[Change] = field(default_factory=list)


def apply_event(db: Session, origin: Origin, event: Event, *, now: datetime) -> Applied:
    """Turn an event into facts, project the purchase it concerns, and ask for a settling read.

    Raises what goes wrong, `Unreadable` included; the caller holds a savepoint.
    """
    try:
        reading = read(event)
    except Unreadable as problem:
        if _is_known(db, origin, event):
            raise
        return Applied(
            EventStatus.IGNORED, f"It cannot be read ({problem}), and was not sold through Licenzy."
        )
    if isinstance(reading, Reading):
        return apply_reading(db, origin, reading, now=now)
    if isinstance(reading, CatalogChange):
        return _of_the_catalog(db, origin, reading, now)
    return Applied(EventStatus.IGNORED, reading.note)


def _is_known(db: Session, origin: Origin, event: Event) -> bool:
    """Whether an object that cannot be read names a purchase, payment or attempt of ours."""
    parent = mapping(mapping(event.object.get("parent")).get("subscription_details"))
    named = {event.object_id, id_of(parent.get("subscription"))}
    named |= {id_of(event.object.get(name)) for name in _NAMES_OF_PURCHASES}
    refs = sorted(str(each) for each in named if is_name(each))
    if refs and is_known_here(db, origin.scope, refs=refs):
        return True
    attempt = event.metadata.get("licenzy_attempt")
    names = [("attempt", str(attempt))] if is_name(attempt) else []
    names += [("session", each) for each in refs]
    return any(
        sold_attempt(db, origin.scope, connection_id=origin.connection_id, by=by, name=name) is not None
        for by, name in names
    )


_NAMES_OF_PURCHASES = ("subscription", "payment_intent", "charge", "invoice")


def apply_reading(db: Session, origin: Origin, reading: Reading, *, now: datetime) -> Applied:
    """Apply what an event or a list of Stripe's says of one object; kept where its purchase is unknown."""
    placed = place_reading(db, origin, reading, now=now)
    if isinstance(placed, Nothing):
        return Applied(EventStatus.IGNORED, placed.note)
    if isinstance(placed, Waiting):
        record_waiting(db, placed, now=now)
        return Applied(EventStatus.APPLIED, "Stored until the purchase of its payment is known.")
    recorded = record(db, placed, now=now)
    taken_back: list[Change] = []
    if placed.disowned is not None:
        recorded, taken_back = _disown(db, placed, recorded, placed.disowned, now)
    if recorded.purchase.subject_id is None:
        applied = _of_nobody(db, placed, recorded.purchase, now)
        return replace(applied, changes=[*taken_back, *applied.changes])
    changes = _project(db, placed, recorded, now)
    if recorded.displaced is not None:
        changes += _withdraw(db, placed, recorded.displaced, now)
    if _sold_other_than_asked(placed.readings[0]) and not _knows_lines(recorded, reading):
        ask_for_read(db, origin, reading.object_id, now=now)
    if recorded.purchase.key.startswith("sub_") and reading.kind in _SETTLED_BY_READING:
        ask_for_read(db, origin, recorded.purchase.key, now=now)
    return Applied(EventStatus.APPLIED, remark_on(placed), changes)


def apply_found(
    db: Session,
    origin: Origin,
    found: Found,
    *,
    now: datetime,
    cause: ChangeCause | None = None,
    announced: bool = True,
) -> list[Change]:
    """Record what Stripe said when it was asked, and project the purchase once; what changed.

    `cause` says why, where that is not the reading itself. Nobody is told unless it is `announced`.
    """
    placed = place_found(db, origin, found, now=now)
    recorded = record(db, placed, now=now)
    if placed.disowned is not None:
        # A session may still be open whose subscription exists already: once it completes it says so.
        recorded, taken_back = _disown(db, placed, recorded, placed.disowned, now)
        if recorded.purchase.subject_id is None:
            return [*taken_back, *(_keep_subscription(db, placed, recorded.purchase, now).changes or ())]
    elif recorded.purchase.subject_id is None:
        return list(_keep_subscription(db, placed, recorded.purchase, now).changes or ())
    placed = placed if announced else replace(placed, has_endpoints=False)
    changes = _project(db, placed, recorded, now, cause)
    if recorded.displaced is not None:
        changes += _withdraw(db, placed, recorded.displaced, now)
    for reading in placed.readings:
        if "lines" in reading.data and reading.data.get("sold") is not None:
            _note_lines(db, placed, reading)
    if placed.lacks_proof:
        ask_for_read(db, origin, placed.purchase.key, now=now)
    return changes


def _disown(
    db: Session, placed: Placed, recorded: Recorded, attempt_id: str, now: datetime
) -> tuple[Recorded, list[Change]]:
    """Take a subscription away from the attempt that it names, unless an operator has adopted it.

    What it granted ends.
    """
    key = recorded.purchase.key
    if not key.startswith("sub_"):
        return recorded, []
    release_subscription(db, placed.origin.scope, attempt_id=attempt_id, subscription_id=key)
    changes = _withdraw(db, placed, key, now)
    disown_purchase(db, recorded.purchase, attempt_id=attempt_id)
    purchase = lock_purchase(db, placed.origin.scope, key=key, now=now)
    return replace(recorded, purchase=purchase), changes


def _withdraw(db: Session, placed: Placed, key: str, now: datetime) -> list[Change]:
    """Take back what a subscription granted that only its metadata had to do with an attempt."""
    origin = placed.origin
    purchase = lock_purchase(db, origin.scope, key=key, now=now)
    facts = recorded_facts(db, origin.scope, purchase_key=key)
    if was_sold_by_session(facts) or purchase.attempt_id is None:
        return []  # Another session of the same attempt made it, or an operator has adopted it.
    event_id = origin.source_id if origin.source is FactSource.EVENT else None
    cause = ChangeCause(Source.STRIPE, "subscription_updated", stripe_event_id=event_id)
    return withdraw_purchase(db, purchase, facts=facts, cause=cause, now=now)


_SETTLED_BY_READING = frozenset({"subscription", "invoice", "session"})


def _project(
    db: Session, placed: Placed, recorded: Recorded, now: datetime, cause: ChangeCause | None = None
) -> list[Change]:
    note_unmapped(db, recorded.purchase, recorded.facts, now=now)
    return project_purchase(
        db,
        recorded.purchase,
        now=now,
        cause=cause or _cause(placed, recorded),
        facts=recorded.facts,
        has_endpoints=placed.has_endpoints,
    )


_REASONS = {
    "session": "checkout_finalized",
    "subscription": "subscription_updated",
    "invoice": "invoice_payment_succeeded",
    "invoice_payment": "invoice_payment_succeeded",
    "charge": "refund",
    "refund": "refund",
    "dispute": "dispute",
}
_REASONS_OF_EVENTS = {
    "customer.subscription.deleted": "subscription_deleted",
    "invoice.payment_failed": "invoice_payment_failed",
}


def _cause(placed: Placed, recorded: Recorded) -> ChangeCause:
    origin = placed.origin
    if origin.source is not FactSource.EVENT:
        return ChangeCause(Source.STRIPE, "read_from_stripe", new_facts=recorded.new_facts)
    (reading,) = placed.readings
    reason = _REASONS_OF_EVENTS.get(reading.data["event"]) or _REASONS.get(reading.kind, "")
    return ChangeCause(Source.STRIPE, reason, stripe_event_id=origin.source_id, new_facts=recorded.new_facts)


def _sold_other_than_asked(reading: Reading) -> bool:
    """Whether a session may have sold something else than it was opened for: then its lines have to be read.

    What its items cost before discounts and taxes tells it, where Stripe says that. What is free with a code,
    or among the items that the session offered beside its own, no amount tells.
    """
    if reading.kind != "session" or reading.data["status"] != "complete":
        return False
    sold, data = reading.data.get("sold") or {}, reading.data
    opened, discount = sold.get("opened_amount"), data["discount"] or 0
    if opened is None:
        return False
    if data["offered_more"] or discount:
        return True
    subtotal, asked = data["amount_subtotal"], sold.get("opened_subtotal")
    if subtotal is None or asked is None:
        return bool(data["amount_total"] != opened)
    return bool(subtotal != asked)


def _knows_lines(recorded: Recorded, session: Reading) -> bool:
    """Whether what a session sold is known: its lines do not change, but a price may be mapped later."""
    return any(
        fact.kind == "session"
        and fact.object_id == session.object_id
        and all(line["sold"] is not None or line["recurring"] for line in fact.data.get("lines") or [_UNREAD])
        for fact in recorded.facts
    )


_UNREAD = {"sold": None, "recurring": False}


ALSO_BOUGHT = "Also bought, without a product: "
"""How the note on a session begins that sold prices which no product is mapped to; they follow."""


def _note_lines(db: Session, placed: Placed, session: Reading) -> None:
    """Say on the session's events what it sold that grants nothing.

    Recurring prices are left to the subscription, whose events name them.
    """
    sold_nothing = [
        line["price"] or "an item without a price"
        for line in session.data["lines"]
        if line["sold"] is None and not line["recurring"]
    ]
    note = f"{ALSO_BOUGHT}{', '.join(sold_nothing)}." if sold_nothing else None
    note_on_session(
        db,
        placed.origin.scope,
        session_id=session.object_id,
        note=note,
        mark=ALSO_BOUGHT,
    )


def _of_nobody(db: Session, placed: Placed, purchase: LockedPurchase, now: datetime) -> Applied:
    """A purchase that was not made here; a session or subscription of one is kept for an operator."""
    origin, (reading,) = placed.origin, placed.readings
    if reading.kind not in {"session", "subscription"}:
        return Applied(EventStatus.IGNORED, _UNTRACKED.get(reading.kind, _UNTRACKED["payment"]))
    if reading.kind == "session":
        kept = keep_session(
            db,
            origin.scope,
            connection_id=origin.connection_id,
            reading=reading,
            purchase_key=purchase.key,
            event_id=origin.source_id,
            completed_at=origin.occurred_at,
            now=now,
        )
        if not kept:
            return Applied(EventStatus.IGNORED, _NOT_OURS)
    subscription = _keep_subscription(db, placed, purchase, now)
    if subscription.changes is not None:
        return Applied(EventStatus.APPLIED, ADOPTED_BY_SETTING, subscription.changes)
    if reading.kind == "subscription" and subscription.is_kept:
        return Applied(EventStatus.IGNORED, "Untracked subscription: it was not sold through Licenzy.")
    return Applied(EventStatus.IGNORED, _UNTRACKED[reading.kind])


class _Kept(NamedTuple):
    """What became of a subscription of nobody."""

    is_kept: bool = False
    changes: list[Change] | None = None
    """What adopting it by the project's setting changed; None where it was not adopted."""


def _keep_subscription(db: Session, placed: Placed, purchase: LockedPurchase, now: datetime) -> _Kept:
    """Keep a subscription of nobody that has a product's price, or what is new of one that is kept."""
    scope, key = placed.origin.scope, purchase.key
    items = (each for reading in placed.readings for each in reading.data.get("items", ()))
    if not key.startswith("sub_") or not (any(map(_is_sold, items)) or is_kept(db, scope, purchase_key=key)):
        return _Kept()
    facts = [] if purchase.is_new else recorded_facts(db, scope, purchase_key=key)
    state = latest_state(key, facts) or _state_in(placed)
    if state is None:
        return _Kept()
    connection_id = placed.origin.connection_id
    waiting = keep_subscriptions(db, scope, [state], connection_id=connection_id, now=now)
    if not waiting:
        return _Kept(is_kept(db, scope, purchase_key=key))
    changes = adopt_of_known_customer(db, purchase, state.data["customer"], now=now)
    if changes is not None:
        ask_for_read(db, placed.origin, key, now=now)
    return _Kept(True, changes)


def _state_in(placed: Placed) -> SubscriptionState | None:
    """The state that readings of a new purchase, which has no other facts, tell."""
    reading = next((each for each in placed.readings if each.kind == "subscription"), None)
    if reading is None or reading.data["status"] not in statuses.KNOWN:
        return None
    origin = placed.origin
    event_id = origin.source_id if origin.source is FactSource.EVENT else None
    return SubscriptionState(reading.object_id, reading.data, origin.occurred_at, event_id=event_id)


def _is_sold(item: Mapping[str, Any]) -> bool:
    return item.get("sold") is not None


_NOT_OURS = "This checkout was created for another project, or was never completed."
_UNTRACKED = {
    "session": "Untracked checkout: it was not created by Licenzy.",
    "subscription": "This subscription was not sold through Licenzy.",
    "invoice": "The invoice's subscription was not sold through Licenzy.",
    "payment": "The payment was not made through Licenzy.",
}


def _of_the_catalog(db: Session, origin: Origin, change: CatalogChange, now: datetime) -> Applied:
    """A price or product that is sold here changed at Stripe: what Stripe says of it is read anew, soon."""
    if sold_product_id(db, origin.scope, stripe_id=change.object_id) is None:
        return Applied(EventStatus.IGNORED, nothing_depends_on(change.event_type).note)
    probe_again(db, origin.scope, now=now)
    return Applied(EventStatus.APPLIED, "The prices of products are checked with Stripe again.")
