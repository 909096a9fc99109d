"""Subscriptions made past Licenzy by a customer it knows: adopted where the project has chosen that."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlmodel import Session

from licenzy.catalog.queries import product_by_price
from licenzy.catalog.rules import as_sold
from licenzy.db.reads import read_row, read_rows
from licenzy.db.upsert import table_of
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import give_purchase, project_purchase
from licenzy.entitlements.events import Change, ChangeCause
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.entitlements.queries import recorded_facts
from licenzy.projects.models import Project
from licenzy.projects.scope import Scope
from licenzy.stripe_events.adoption_record import note_adoption, record_adoption
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_events.untracked_queries import untracked_of_event
from licenzy.subjects.actions import lock_customer
from licenzy.subjects.queries import customer_links
from licenzy.workspace.audit import Actor

ADOPTED_BY_SETTING = "Adopted by the project's setting: one subject has its Stripe customer."
_PROJECTS = table_of(Project).c


def adopts_by_itself(db: Session, scope: Scope) -> bool:
    """Whether the project lets subscriptions of known customers count."""
    row = _setting(db, scope)
    return row is not None and bool(row.adopt_known_customers)


@read_row
def _setting(scope: Scope) -> Select[Any]:
    return select(_PROJECTS.adopt_known_customers).where(_PROJECTS.id == scope.project_id)


def subjects_of_customers(db: Session, scope: Scope, *, customers: Collection[str]) -> dict[str, str]:
    """The ids of the subjects of these Stripe customers; without customers that several subjects have."""
    if not customers:
        return {}
    return {row.customer: row.subject_id for row in _owners(db, scope, customers=sorted(customers))}


@read_rows
def _owners(scope: Scope, *, customers: Collection[str]) -> Select[Any]:
    links = customer_links(scope, customers=customers).c
    return (
        select(links.customer, func.min(links.subject_id).label("subject_id"))
        .group_by(links.customer)
        .having(func.count() == 1)
    )


def adopt_of_known_customer(
    db: Session, purchase: LockedPurchase, customer: str | None, *, now: datetime
) -> list[Change] | None:
    """Let a held, kept subscription count for the one subject that is its Stripe customer; what that changed.

    None, and nothing is written, where the project does not want that, no subject or several have the
    customer, or somebody has adopted it already. The caller asks for a read: it tells what was paid.
    """
    scope = purchase.scope
    if customer is None or purchase.subject_id is not None or not adopts_by_itself(db, scope):
        return None
    subject_id = subjects_of_customers(db, scope, customers=[customer]).get(customer)
    kept = untracked_of_event(db, scope, object_id=purchase.key)
    if subject_id is None or kept is None or kept.adopted_at is not None:
        return None
    sold = _sold(db, scope, kept)
    if not sold:
        return None
    purchase = give_purchase(db, purchase, subject_id=subject_id)
    actor = Actor()
    record_adoption(
        db,
        scope,
        kept,
        sold,
        actor=actor,
        occurred_at=scope.at(now),
        note=f"The project adopts subscriptions of known customers; {customer} is the subject's.",
        now=now,
    )
    subject = lock_customer(db, scope, subject_id=subject_id)
    facts = recorded_facts(db, scope, purchase_key=purchase.key)
    cause = ChangeCause(
        Source.STRIPE, "checkout_adopted", new_facts={(fact.source_id, fact.kind) for fact in facts}
    )
    changes = project_purchase(db, purchase, now=now, cause=cause, facts=facts)
    note_adoption(db, scope, kept, subject, sold, actor=actor, changes=len(changes), now=now)
    return changes


def _sold(db: Session, scope: Scope, kept: UntrackedCheckout) -> list[dict[str, Any]]:
    """What the kept subscription's items are here, as of now."""
    items = [each for each in kept.items or () if each["product"] is not None]
    found = [(each, product_by_price(db, scope, price_id=each["price"])) for each in items]
    return [
        {"sold": as_sold(product, price_id=each["price"]), "quantity": each["quantity"]}
        for each, product in found
        if product is not None
    ]
