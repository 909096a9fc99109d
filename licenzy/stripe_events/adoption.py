"""Adopting an untracked checkout: an operator says whose it is, and what was bought counts for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, update

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.queries import product_by_price
from licenzy.catalog.rules import as_sold
from licenzy.connections.actions import access
from licenzy.connections.queries import connection_of
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import give_purchase, lock_purchase, project_purchase, record_fact
from licenzy.entitlements.events import Change, ChangeCause
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.queries import recorded_facts
from licenzy.errors import InvalidRequest, NotFound, StripeNotConnected
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import EventStatus, StripeEvent, UntrackedCheckout
from licenzy.stripe_events.read import Found, session_found, subscription_found
from licenzy.stripe_events.settling import claim_now, read_done
from licenzy.stripe_events.snapshots import record_snapshot
from licenzy.stripe_events.untracked import untracked_by_id
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.subjects.actions import ensure_subject, link_customer, lock_customer
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id
from licenzy.workspace.audit import record


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
    session: Mapping[str, Any]
    subscription: Mapping[str, Any] | None = None
    read_at: datetime | None = None
    """When the subscription was read, by Stripe's clock."""


def adopt(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    operator: OperatorContext,
    *,
    untracked_id: str,
    subject_ref: str,
) -> list[Change]:
    """Let what an untracked checkout bought count for a subject, known or new; what that changed.

    Its line items are read from Stripe before anything is written. What was kept of the same purchase
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
    """Read from Stripe what an untracked checkout sold, and which product that is.

    Raises InvalidRequest, with cause and fix, when it cannot be adopted, and Stripe's refusals.
    """
    with database.read() as db:
        kept = untracked_by_id(db, scope, untracked_id=untracked_id)
        connection = connection_of(db, scope)
    if kept is None:
        raise NotFound("This untracked checkout does not exist.")
    if connection is None or connection.id != kept.connection_id:
        raise StripeNotConnected("The Stripe account that received this payment is not connected.")
    at = access(gateway, secret_box, connection)
    session = gateway.checkout_session(at, kept.session_id)
    lines = _lines(session)
    with database.read() as db:
        products = {price_id: product_by_price(db, scope, price_id=price_id) for price_id in lines}
    items = [
        BoughtItem(_fit(products[price_id], price_id, recurring=kept.recurring), price_id, quantity)
        for price_id, quantity in lines.items()
    ]
    read = gateway.subscription(at, kept.purchase_key) if kept.recurring else None
    found, read_at = (read.value, read.at) if read else (None, None)
    return Bought(items, session, found, read_at)


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


def _fit(product: Product | None, price_id: str, *, recurring: bool) -> Product:
    """The product of a price. Raises InvalidRequest where the purchase cannot grant it."""
    if product is None:
        raise InvalidRequest(
            f"No product is mapped to {price_id}, the price of this purchase.",
            hint="Map that price to a product on the Products page, then adopt the checkout.",
        )
    if (product.kind is Kind.SUBSCRIPTION) is not recurring:
        raise InvalidRequest(
            f"{product.product_code} is a {product.kind.value.replace('_', ' ')}, which this "
            f"{'subscription' if recurring else 'payment'} cannot grant.",
            hint="Map the price to a product of a matching kind, then adopt the checkout.",
        )
    return product


def _found(bought: Bought) -> list[Found]:
    found = [session_found(bought.session)]
    if bought.subscription is not None:
        found.append(subscription_found(bought.subscription))
    return [each for each in found if each is not None]


def _claims(
    db: Session, operator: OperatorContext, kept: UntrackedCheckout, bought: Bought
) -> dict[str, Any]:
    """Numbers for what was read, by the object's id; in a transaction of their own, as readings do it."""
    ids = [kept.session_id, *([kept.purchase_key] if bought.subscription is not None else [])]
    return {
        each: claim_now(
            db, operator.scope, connection_id=kept.connection_id, object_id=each, began=operator.now
        )
        for each in ids
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
        return []
    subject = ensure_subject(db, operator.scope, subject_ref=subject_ref, now=operator.now)
    purchase = give_purchase(db, purchase, subject_id=subject.id)
    _record_act(db, operator, kept, bought)
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
    _note(db, operator, kept, subject, bought, changes)
    return changes


def _kept(db: Session, operator: OperatorContext, untracked_id: str) -> UntrackedCheckout:
    kept = untracked_by_id(db, operator.scope, untracked_id=untracked_id)
    if kept is None:
        raise NotFound("This untracked checkout does not exist.")
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


def _record_act(db: Session, operator: OperatorContext, kept: UntrackedCheckout, bought: Bought) -> None:
    first, *others = [
        {"sold": as_sold(each.product, price_id=each.price_id), "quantity": each.quantity}
        for each in bought.items
    ]
    record_fact(
        db,
        operator.scope,
        source=FactSource.OPERATOR,
        source_id=f"adopt:{kept.session_id}",
        kind="operator",
        object_id=kept.session_id,
        purchase_key=kept.purchase_key,
        occurred_at=operator.there,
        data={
            "action": "adopt",
            "session": kept.session_id,
            **first,
            **({"others": others} if others else {}),
            "actor": operator.actor.user_id,
            "note": operator.note,
        },
        now=operator.now,
    )


def _note(
    db: Session,
    operator: OperatorContext,
    kept: UntrackedCheckout,
    subject: Subject,
    bought: Bought,
    changes: list[Change],
) -> None:
    kept.adopted_at, kept.adopted_by, kept.subject_id = operator.now, operator.actor.user_id, subject.id
    db.exec(
        update(StripeEvent)
        .where(
            col(StripeEvent.project_id) == kept.project_id,
            col(StripeEvent.mode) == kept.mode,
            col(StripeEvent.object_id) == kept.session_id,
            col(StripeEvent.status) == EventStatus.IGNORED,
        )
        .values(note="The checkout was adopted manually and counts as a purchase.")
    )
    known = lock_customer(db, operator.scope, subject_id=subject.id)
    link_customer(
        db,
        operator.scope,
        known,
        # Whom the subject is at Stripe already is not overwritten: a subscription may hang on it.
        stripe_customer_id=kept.customer if known.stripe_customer_id is None else None,
        email=kept.email if known.email is None else None,
    )
    record(
        db,
        actor=operator.actor,
        action="checkout.adopt",
        about=kept.session_id,
        before=None,
        after={"subject": subject.id, "product_code": _codes(bought), "changes": len(changes)},
        now=operator.now,
        project_id=operator.scope.project_id,
        mode=operator.scope.mode,
    )


def _codes(bought: Bought) -> str:
    return ", ".join(each.product.product_code for each in bought.items)
