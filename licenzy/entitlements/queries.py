"""Reads of entitlements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select as CoreSelect
from sqlalchemy import select as core_select
from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.reads import read_all, read_first, read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import NO_ENTITLEMENT, OVERRIDE, Entitlement, Fact, PaymentLink, Purchase
from licenzy.entitlements.projected import RecordedFact
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject


@read_all
def entitlements_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[Entitlement]:
    """Everything the subject holds or held, newest first."""
    return _rows_of(scope, subject_id).where(col(Entitlement.source).not_in(NO_ENTITLEMENT))


@read_all
def entitlements_and_overrides_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[Entitlement]:
    """The same, with the features and limits that operators have set, and the row of default units."""
    return _rows_of(scope, subject_id)


@read_all
def overrides_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[Entitlement]:
    """The features and limits that operators have set for the subject, over ones included, newest first."""
    return _rows_of(scope, subject_id).where(Entitlement.source == OVERRIDE)


def _rows_of(scope: Scope, subject_id: str) -> SelectOfScalar[Entitlement]:
    return (
        select(Entitlement)
        .where(
            Entitlement.subject_id == subject_id,
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
        )
        .order_by(col(Entitlement.created_at).desc(), col(Entitlement.id).desc())
    )


@read_first
def entitlement_by_id(scope: Scope, *, entitlement_id: str) -> SelectOfScalar[Entitlement]:
    """The entitlement with this id, of this project and mode. A row that is none is not found."""
    return select(Entitlement).where(
        Entitlement.project_id == scope.project_id,
        Entitlement.mode == scope.mode,
        Entitlement.id == entitlement_id,
        col(Entitlement.source).not_in(NO_ENTITLEMENT),
    )


@read_all
def entitlements_of_purchase(scope: Scope, *, purchase_key: str) -> SelectOfScalar[Entitlement]:
    """What one purchase gives, as it is written now."""
    return (
        select(Entitlement)
        .where(
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
            Entitlement.purchase_key == purchase_key,
        )
        .order_by(Entitlement.item_key)
        .execution_options(populate_existing=True)
    )


def was_granted(db: Session, scope: Scope, product_code: str) -> bool:
    """Whether anybody has or had this product."""
    return _granted_id(db, scope, product_code=product_code) is not None


@read_first
def _granted_id(scope: Scope, *, product_code: str) -> SelectOfScalar[str]:
    return (
        select(Entitlement.id)
        .where(
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
            Entitlement.product_code == product_code,
            col(Entitlement.source).not_in(NO_ENTITLEMENT),
        )
        .limit(1)
    )


def holders_of(db: Session, scope: Scope, *, entitlement_ids: Sequence[str]) -> dict[str, Subject]:
    """Whose these entitlements are, by entitlement."""
    found = db.exec(
        select(Entitlement.id, Subject)
        .join(Subject)
        .where(
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
            col(Entitlement.id).in_(entitlement_ids),
        )
    )
    return dict(found.all())


@read_all
def facts_of(scope: Scope, *, purchase_key: str) -> SelectOfScalar[Fact]:
    """The facts of one purchase, as recorded."""
    return (
        select(Fact)
        .where(
            Fact.project_id == scope.project_id, Fact.mode == scope.mode, Fact.purchase_key == purchase_key
        )
        .order_by(col(Fact.recorded_at), col(Fact.id))
    )


def recorded_facts(db: Session, scope: Scope, *, purchase_key: str) -> list[RecordedFact]:
    """The same, as the projection reads them."""
    rows = _recorded(db, scope, purchase_key=purchase_key)
    return [RecordedFact._make(row) for row in rows]


@read_rows
def _recorded(scope: Scope, *, purchase_key: str) -> CoreSelect[Any]:
    columns = table_of(Fact).c
    return (
        core_select(*(columns[name] for name in RecordedFact._fields))
        .where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.purchase_key == purchase_key,
        )
        .order_by(columns.recorded_at, columns.id)
    )


def recorded_facts_by_purchase(
    db: Session, scope: Scope, *, purchase_keys: Sequence[str]
) -> dict[str, list[RecordedFact]]:
    """The same of several purchases, in one read."""
    columns = table_of(Fact).c
    statement = (
        core_select(columns.purchase_key, *(columns[name] for name in RecordedFact._fields))
        .where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.purchase_key.in_(purchase_keys),
        )
        .order_by(columns.recorded_at, columns.id)
    )
    facts: dict[str, list[RecordedFact]] = {key: [] for key in purchase_keys}
    for key, *fact in db.connection().execute(statement):
        facts[key].append(RecordedFact._make(fact))
    return facts


def recorded_sessions(db: Session, scope: Scope, *, purchase_key: str) -> list[RecordedFact]:
    """Those that say something of a Checkout Session, which are few."""
    rows = _recorded_sessions(db, scope, purchase_key=purchase_key)
    return [RecordedFact._make(row) for row in rows]


@read_rows
def _recorded_sessions(scope: Scope, *, purchase_key: str) -> CoreSelect[Any]:
    columns = table_of(Fact).c
    return core_select(*(columns[name] for name in RecordedFact._fields)).where(
        columns.project_id == scope.project_id,
        columns.mode == scope.mode,
        columns.purchase_key == purchase_key,
        columns.kind == "session",
    )


def facts_behind(db: Session, scope: Scope, *, purchase_keys: Sequence[str]) -> dict[str, list[Fact]]:
    """The facts of several purchases, by purchase, in one read."""
    found = db.exec(
        select(Fact).where(
            Fact.project_id == scope.project_id,
            Fact.mode == scope.mode,
            col(Fact.purchase_key).in_(purchase_keys),
        )
    )
    facts: dict[str, list[Fact]] = {key: [] for key in purchase_keys}
    for fact in found:
        assert fact.purchase_key is not None
        facts[fact.purchase_key].append(fact)
    return facts


def was_recorded(db: Session, scope: Scope, *, source_id: str) -> bool:
    """Whether a fact of this source has been recorded."""
    found = select(Fact.id).where(
        Fact.project_id == scope.project_id, Fact.mode == scope.mode, Fact.source_id == source_id
    )
    return db.exec(found.limit(1)).first() is not None


def bought_by(db: Session, scope: Scope, *, subject_id: str, most: int) -> tuple[list[str], list[str]]:
    """What of a subject's purchases Stripe has: their keys, the newest first, and their payments' ids."""
    keys = db.exec(
        select(Purchase.key)
        .where(
            Purchase.project_id == scope.project_id,
            Purchase.mode == scope.mode,
            Purchase.subject_id == subject_id,
            or_(col(Purchase.key).startswith("sub_"), col(Purchase.key).startswith("cs_")),
        )
        .order_by(col(Purchase.created_at).desc(), col(Purchase.key))
        .limit(most)
    ).all()
    payments = db.exec(
        select(PaymentLink.ref)
        .where(
            PaymentLink.project_id == scope.project_id,
            PaymentLink.mode == scope.mode,
            col(PaymentLink.purchase_key).in_(keys),
            col(PaymentLink.ref).startswith("pi_"),
        )
        .order_by(col(PaymentLink.ref).desc())
        .limit(most)
    ).all()
    return list(keys), list(payments)


@read_all
def trials_of(scope: Scope, *, subject_ids: Sequence[str]) -> SelectOfScalar[Purchase]:
    """The purchases of these subjects that are or were in a trial, newest first."""
    return (
        select(Purchase)
        .where(
            Purchase.project_id == scope.project_id,
            Purchase.mode == scope.mode,
            col(Purchase.subject_id).in_(subject_ids),
            col(Purchase.trialed_at).is_not(None),
        )
        .order_by(col(Purchase.trialed_at).desc(), Purchase.key)
    )


def trialed_products(db: Session, scope: Scope, *, subject_ids: Sequence[str]) -> set[str]:
    """The codes of the products that these subjects are or were in a trial of."""
    found = _trialed(db, scope, subject_ids=subject_ids)
    return {code for row in found for code in row.trialed_products or ()}


@read_rows
def _trialed(scope: Scope, *, subject_ids: Sequence[str]) -> CoreSelect[Any]:
    columns = table_of(Purchase).c
    return core_select(columns.trialed_products).where(
        columns.project_id == scope.project_id,
        columns.mode == scope.mode,
        columns.subject_id.in_(subject_ids),
        columns.trialed_at.is_not(None),
    )


def owned_purchases(db: Session, scope: Scope, *, keys: Sequence[str]) -> set[str]:
    """Those of these purchases that are somebody's here."""
    return {row.key for row in _owned_purchases(db, scope, keys=sorted(keys))}


@read_rows
def _owned_purchases(scope: Scope, *, keys: Sequence[str]) -> CoreSelect[Any]:
    purchases = table_of(Purchase).c
    return core_select(purchases.key).where(
        purchases.project_id == scope.project_id,
        purchases.mode == scope.mode,
        purchases.key.in_(keys),
        purchases.subject_id.is_not(None),
    )


@read_first
def purchase_of(scope: Scope, *, key: str) -> SelectOfScalar[Purchase]:
    """The purchase with this key."""
    return select(Purchase).where(
        Purchase.project_id == scope.project_id, Purchase.mode == scope.mode, Purchase.key == key
    )
