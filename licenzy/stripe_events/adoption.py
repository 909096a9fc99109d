"""Adopting what was bought past Licenzy: an operator says whose it is, and it counts for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.queries import product_by_price
from licenzy.catalog.rules import as_sold
from licenzy.connections.actions import access
from licenzy.connections.queries import connection_of
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import give_purchase, lock_purchase, project_purchase
from licenzy.entitlements.events import Change, ChangeCause
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.queries import recorded_facts
from licenzy.errors import InvalidRequest, NotFound, StripeNotConnected
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_events.adoption_record import note_adoption, note_owner, record_adoption
from licenzy.stripe_events.known_customers import subjects_of_customers
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_events.paid_periods import PaidPeriods, apply_paid_periods, read_paid_periods
from licenzy.stripe_events.read import Found, session_found, subscription_found
from licenzy.stripe_events.settling import claim_now, read_done
from licenzy.stripe_events.snapshots import record_snapshot
from licenzy.stripe_events.untracked_queries import untracked_by_id
from licenzy.stripe_gateway import shapes
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.subjects.actions import ensure_subject, lock_customer
from licenzy.subjects.queries import subject_by_id
from licenzy.subjects.rules import ref_problem


@dataclass(frozen=True, slots=True)
class BoughtItem:
    """One of the products that were bought."""

    product: Product
    price_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Bought:
    """What Stripe says was bought: its products, and the objects that tell its state."""

    items: Sequence[BoughtItem]
    left_out: Sequence[str] = ()
    """The prices of a subscription that no product has: they grant nothing."""
    session: Mapping[str, Any] | None = None
    subscription: Mapping[str, Any] | None = None
    paid: PaidPeriods = field(default_factory=PaidPeriods)
    """What shows that the subscription's present periods are paid."""
    read_at: datetime | None = None
    """When the subscription was read, by Stripe's clock."""


@dataclass(frozen=True, slots=True)
class ProposedSubject:
    """Whose a purchase may be, for an operator to decide."""

    subject_ref: str
    because: str
    """What says so, as half a sentence."""


_NAMES_OF_SUBJECTS = ("subject_ref", "client_reference_id", "user_id")
"""What merchants call their own id of a buyer in the metadata of a subscription."""


def proposed_subject(
    db: Session, scope: Scope, kept: UntrackedCheckout, bought: Bought | None
) -> ProposedSubject | None:
    """The subject that is its Stripe customer, else whom the merchant's own code named; None without any."""
    if kept.customer is not None:
        owner_id = subjects_of_customers(db, scope, customers=[kept.customer]).get(kept.customer)
        owner = subject_by_id(db, scope, subject_id=owner_id) if owner_id is not None else None
        if owner is not None:
            return ProposedSubject(owner.subject_ref, "is this Stripe customer")
    named = [(kept.reference, "was sent as client_reference_id")]
    if bought is not None and bought.subscription is not None:
        metadata = bought.subscription.get("metadata") or {}
        named += [
            (metadata.get(name), f"stands in the subscription's metadata as {name}")
            for name in _NAMES_OF_SUBJECTS
        ]
    for ref, because in named:
        if isinstance(ref, str) and ref_problem(ref) is None:
            return ProposedSubject(ref, because)
    return None


def adopt(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    operator: OperatorContext,
    *,
    untracked_id: str,
    subject_ref: str,
) -> list[Change]:
    """Let what was bought past Licenzy count for a subject, known or new; what that changed.

    What it sold is read from Stripe before anything is written. What was kept of the same purchase
    before counts from then on, and so does what Stripe tells later. Adopting onto the same subject
    again changes nothing. Raises NotFound, InvalidRequest with the cause, and Stripe's refusals.
    """
    with database.read() as db:
        kept = _kept(db, operator, untracked_id)
        adopted_by_them = _is_theirs(db, operator, kept.subject_id, subject_ref)
    if adopted_by_them:
        return []
    bought = what_was_bought(database, gateway, secret_box, operator.scope, untracked_id=untracked_id)
    numbers = database.retrying(lambda db: _claims(db, operator, kept, bought))
    return database.retrying(lambda db: _adopt(db, operator, untracked_id, subject_ref, bought, numbers))


def what_was_bought(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, scope: Scope, *, untracked_id: str
) -> Bought:
    """Read from Stripe what was sold, and which products that is.

    Raises InvalidRequest, with cause and fix, when it cannot be adopted, and Stripe's refusals.
    """
    with database.read() as db:
        kept = untracked_by_id(db, scope, untracked_id=untracked_id)
        connection = connection_of(db, scope)
    if kept is None:
        raise NotFound("This purchase does not exist.")
    if connection is None or connection.id != kept.connection_id:
        raise StripeNotConnected("The Stripe account that received this payment is not connected.")
    at = access(gateway, secret_box, connection)
    session = gateway.checkout_session(at, kept.session_id) if kept.session_id is not None else None
    if kept.recurring:
        return _subscribed(database, gateway, at, scope, kept, session)
    assert session is not None
    lines = _lines(session)
    with database.read() as db:
        products = {price_id: product_by_price(db, scope, price_id=price_id) for price_id in lines}
    items = [
        BoughtItem(_fit(products[price_id], price_id), price_id, quantity)
        for price_id, quantity in lines.items()
    ]
    return Bought(items, session=session)


def _subscribed(
    database: Database,
    gateway: StripeGateway,
    at: StripeAccess,
    scope: Scope,
    kept: UntrackedCheckout,
    session: Mapping[str, Any] | None,
) -> Bought:
    """What a subscription's items are here. Those of no product are left out, but not all of them."""
    read = gateway.subscription(at, kept.purchase_key)
    held: dict[str, int] = {}
    for item in shapes.subscription(read.value)["items"]:
        held[item["price"]] = held.get(item["price"], 0) + item["quantity"]
    with database.read() as db:
        found = {price_id: product_by_price(db, scope, price_id=price_id) for price_id in held}
    items = [
        BoughtItem(product, price_id, held[price_id])
        for price_id, product in found.items()
        if product is not None and product.kind is Kind.SUBSCRIPTION
    ]
    left_out = [price_id for price_id in held if price_id not in {each.price_id for each in items}]
    if not items:
        raise InvalidRequest(
            f"No product is mapped to {', '.join(left_out)}, the price of this purchase.",
            hint="Map that price to a product on the Products page, then assign the subscription.",
        )
    paid = read_paid_periods(gateway, at, read.value)
    return Bought(items, left_out, session, read.value, paid, read.at)


def _lines(session: Mapping[str, Any]) -> dict[str, int]:
    """How many were bought at each price, in the order of the session's lines."""
    listed = session.get("line_items") or {}
    lines = listed.get("data") or []
    if not lines or listed.get("has_more"):
        raise InvalidRequest(
            f"This checkout has {'more items than can be read' if lines else 'no items'}.",
            hint="Grant the products manually instead.",
        )
    bought: dict[str, int] = {}
    for line in lines:
        price = line.get("price") or {}
        if not isinstance(price.get("id"), str):
            raise InvalidRequest(
                "Stripe shows no price for this purchase.", hint="Grant the product manually instead."
            )
        bought[price["id"]] = bought.get(price["id"], 0) + (line.get("quantity") or 1)
    return bought


def _fit(product: Product | None, price_id: str) -> Product:
    """The product of a price paid once. Raises InvalidRequest where the payment cannot grant it."""
    if product is None:
        raise InvalidRequest(
            f"No product is mapped to {price_id}, the price of this purchase.",
            hint="Map that price to a product on the Products page, then assign the checkout.",
        )
    if product.kind is Kind.SUBSCRIPTION:
        raise InvalidRequest(
            f"{product.product_code} is a subscription, which this payment cannot grant.",
            hint="Map the price to a product of a matching kind, then assign the checkout.",
        )
    return product


def _found(bought: Bought) -> list[Found]:
    found = [session_found(bought.session)] if bought.session is not None else []
    if bought.subscription is not None:
        found.append(subscription_found(bought.subscription))
    return [each for each in found if each is not None]


def _claims(
    db: Session, operator: OperatorContext, kept: UntrackedCheckout, bought: Bought
) -> dict[str, Any]:
    """Numbers for what was read, by the object's id; in a transaction of their own, as readings do it."""
    return {
        object_id: claim_now(
            db, operator.scope, connection_id=kept.connection_id, object_id=object_id, began=operator.now
        )
        for object_id in (found.readings[0].object_id for found in _found(bought))
    }


def _adopt(
    db: Session,
    operator: OperatorContext,
    untracked_id: str,
    subject_ref: str,
    bought: Bought,
    numbers: dict[str, Any],
) -> list[Change]:
    kept = _kept(db, operator, untracked_id)
    purchase = lock_purchase(db, operator.scope, key=kept.purchase_key, now=operator.now)
    if _is_theirs(db, operator, purchase.subject_id, subject_ref):
        assert purchase.subject_id is not None
        note_owner(
            db,
            operator.scope,
            purchase_key=purchase.key,
            subject_id=purchase.subject_id,
            actor=operator.actor,
            now=operator.now,
        )
        return []
    # Before it is anybody's, so that all that is known of it is projected at once.
    apply_paid_periods(
        db,
        operator.scope,
        bought.paid,
        connection_id=kept.connection_id,
        read_at=bought.read_at or operator.there,
        now=operator.now,
    )
    subject = ensure_subject(db, operator.scope, subject_ref=subject_ref, now=operator.now)
    purchase = give_purchase(db, purchase, subject_id=subject.id)
    sold = [
        {"sold": as_sold(each.product, price_id=each.price_id), "quantity": each.quantity}
        for each in bought.items
    ]
    record_adoption(
        db,
        operator.scope,
        kept,
        sold,
        actor=operator.actor,
        note=operator.note,
        occurred_at=operator.there,
        now=operator.now,
    )
    lock_customer(db, operator.scope, subject_id=subject.id)
    facts = recorded_facts(db, operator.scope, purchase_key=purchase.key)
    cause = ChangeCause(
        Source.PORTAL,
        "checkout_adopted",
        actor_user_id=operator.actor.user_id,
        new_facts={(fact.source_id, fact.kind) for fact in facts},
    )
    changes = project_purchase(db, purchase, now=operator.now, cause=cause, facts=facts)
    for found in _found(bought):
        claim = numbers[found.readings[0].object_id]
        as_of = bought.read_at or operator.there
        changes += record_snapshot(db, claim, found, as_of=as_of, now=operator.now)
        read_done(db, claim, now=operator.now)
    customer = lock_customer(db, operator.scope, subject_id=subject.id)
    note_adoption(
        db,
        operator.scope,
        kept,
        customer,
        sold,
        actor=operator.actor,
        changes=len(changes),
        now=operator.now,
    )
    return changes


def _kept(db: Session, operator: OperatorContext, untracked_id: str) -> UntrackedCheckout:
    kept = untracked_by_id(db, operator.scope, untracked_id=untracked_id)
    if kept is None:
        raise NotFound("This purchase does not exist.")
    return kept


def _is_theirs(db: Session, operator: OperatorContext, subject_id: str | None, subject_ref: str) -> bool:
    """Whether it was adopted by this subject already. Raises InvalidRequest when another one has it."""
    if subject_id is None:
        return False
    owner = subject_by_id(db, operator.scope, subject_id=subject_id)
    assert owner is not None
    if owner.subject_ref != subject_ref:
        raise InvalidRequest(fields={"subject_ref": f"it already belongs to {owner.subject_ref}"})
    return True
