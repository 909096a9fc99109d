"""Reads of erasures, and of what a customer is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.reads import read_all, read_first
from licenzy.entitlements.models import Fact, Purchase
from licenzy.forgetting.names import Names
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Erasure, Subject
from licenzy.subjects.queries import other_customers_of, subjects_of_stripe_customer


@read_first
def erasure_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[Erasure]:
    """The erasure of a subject; None where nobody asked for it."""
    return select(Erasure).where(
        Erasure.project_id == scope.project_id,
        Erasure.mode == scope.mode,
        Erasure.subject_id == subject_id,
    )


@read_first
def lock_erasure(scope: Scope, *, subject_id: str) -> SelectOfScalar[Erasure]:
    """The same, held until this transaction ends."""
    return (
        select(Erasure)
        .where(
            Erasure.project_id == scope.project_id,
            Erasure.mode == scope.mode,
            Erasure.subject_id == subject_id,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )


@read_all
def subscriptions_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[str]:
    """The keys of a subject's purchases that are subscriptions at Stripe."""
    return select(Purchase.key).where(
        Purchase.project_id == scope.project_id,
        Purchase.mode == scope.mode,
        Purchase.subject_id == subject_id,
        col(Purchase.key).startswith("sub_", autoescape=True),
    )


def all_names(db: Session, scope: Scope, subject: Subject) -> Names:
    """What a subject is called here, apart from what another one is called as well."""
    facts = _facts_of(db, scope, subject_id=subject.id)
    asked = _asked_for(db, scope, subject_id=subject.id)
    customers = {subject.stripe_customer_id, *other_customers_of(db, scope, subject_id=subject.id)}
    customers |= {data.get("customer") for data in facts} | {each.get("customer") for each in asked}
    addresses = {subject.email, *(data.get("email") for data in facts)}
    addresses |= {each.get("customer_email") for each in asked}
    own = [
        each
        for each in sorted(filter(None, customers))
        if all(
            owner.id == subject.id
            for owner in subjects_of_stripe_customer(db, scope, stripe_customer_id=each, limit=2)
        )
    ]
    spelled = {each.lower() for each in addresses if each}
    shared = set(_addresses_of_others(db, scope, addresses=sorted(spelled), subject_id=subject.id))
    return Names(subject.subject_ref, tuple(own), tuple(sorted(spelled - shared)))


@read_all
def _facts_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[Mapping[Any, Any]]:
    mine = select(Purchase.key).where(
        Purchase.project_id == scope.project_id,
        Purchase.mode == scope.mode,
        Purchase.subject_id == subject_id,
    )
    return select(Fact.data).where(
        Fact.project_id == scope.project_id, Fact.mode == scope.mode, col(Fact.purchase_key).in_(mine)
    )


@read_all
def _asked_for(scope: Scope, *, subject_id: str) -> SelectOfScalar[Mapping[Any, Any]]:
    return select(CheckoutAttempt.stripe_params).where(
        CheckoutAttempt.project_id == scope.project_id,
        CheckoutAttempt.mode == scope.mode,
        CheckoutAttempt.subject_id == subject_id,
    )


@read_all
def _addresses_of_others(scope: Scope, *, addresses: Collection[str], subject_id: str) -> SelectOfScalar[str]:
    lowered = func.lower(Subject.email)
    return select(lowered).where(
        Subject.project_id == scope.project_id,
        Subject.mode == scope.mode,
        lowered.in_(addresses),
        Subject.id != subject_id,
    )
