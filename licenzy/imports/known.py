"""What the database knows of purchases at an account, by which they are matched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select as CoreSelect
from sqlalchemy import func
from sqlalchemy import select as core_select
from sqlmodel import Session

from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.reads import read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Purchase
from licenzy.imports.matching import KnownPurchases
from licenzy.imports.models import ImportRow
from licenzy.projects.scope import Scope
from licenzy.subjects.models import OtherCustomer, Subject


def known_of(
    db: Session, scope: Scope, rows: Sequence[ImportRow], *, shared_emails: frozenset[str]
) -> KnownPurchases:
    """What the database knows of some purchases of an import."""
    customers = {each.stripe_customer_id for each in rows if each.stripe_customer_id is not None}
    emails = {each.email.lower() for each in rows if each.email}
    linked = [
        *_linked(db, scope, customers=sorted(customers)),
        *_linked_too(db, scope, customers=sorted(customers)),
    ]
    sessions = [each.named.get("session") or each.key for each in rows]
    return KnownPurchases(
        opened_here={row[0] for row in _opened_here(db, scope, sessions=sessions)},
        here={row.key for row in _here(db, scope, keys=[each.key for each in rows])},
        kinds=kinds_of_prices(db, scope, prices={item["price"] for row in rows for item in row.items}),
        linked=_grouped(linked),
        by_email=_grouped(_with_email(db, scope, emails=sorted(emails))),
        shared_emails=shared_emails,
        project_id=scope.project_id,
    )


def _grouped(pairs: Iterable[Sequence[Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, ref in pairs:
        refs = found.setdefault(name, [])
        if ref not in refs:
            refs.append(ref)
    return found


def kinds_of_prices(db: Session, scope: Scope, *, prices: Iterable[str]) -> dict[str, Kind]:
    """The kind of the product of each of these Stripe prices that is one's, retired ones included."""
    return {row.stripe_price_id: row.kind for row in _kinds(db, scope, these=sorted(prices))}


@read_rows
def _kinds(scope: Scope, *, these: Sequence[str]) -> CoreSelect[Any]:
    prices, products = table_of(ProductPrice).c, table_of(Product).c
    return (
        core_select(prices.stripe_price_id, products.kind)
        .join_from(
            table_of(ProductPrice),
            table_of(Product),
            (products.project_id == prices.project_id) & (products.id == prices.product_id),
        )
        .where(
            prices.project_id == scope.project_id,
            prices.mode == scope.mode,
            prices.stripe_price_id.in_(these),
        )
        .order_by(products.created_at.desc())
    )


@read_rows
def _here(scope: Scope, *, keys: Sequence[str]) -> CoreSelect[Any]:
    purchases = table_of(Purchase).c
    return core_select(purchases.key).where(
        purchases.project_id == scope.project_id,
        purchases.mode == scope.mode,
        purchases.key.in_(keys),
        purchases.subject_id.is_not(None),
    )


@read_rows
def _opened_here(scope: Scope, *, sessions: Sequence[str]) -> CoreSelect[Any]:
    attempts = table_of(CheckoutAttempt).c
    return core_select(attempts.stripe_checkout_session_id).where(
        attempts.project_id == scope.project_id,
        attempts.mode == scope.mode,
        attempts.stripe_checkout_session_id.in_(sessions),
    )


@read_rows
def _linked(scope: Scope, *, customers: Sequence[str]) -> CoreSelect[Any]:
    subjects = table_of(Subject).c
    return core_select(subjects.stripe_customer_id, subjects.subject_ref).where(
        subjects.project_id == scope.project_id,
        subjects.mode == scope.mode,
        subjects.stripe_customer_id.in_(customers),
    )


@read_rows
def _linked_too(scope: Scope, *, customers: Sequence[str]) -> CoreSelect[Any]:
    others, subjects = table_of(OtherCustomer).c, table_of(Subject).c
    same = (
        (subjects.project_id == others.project_id)
        & (subjects.mode == others.mode)
        & (subjects.id == others.subject_id)
    )
    return (
        core_select(others.stripe_customer_id, subjects.subject_ref)
        .join_from(table_of(OtherCustomer), table_of(Subject), same)
        .where(
            others.project_id == scope.project_id,
            others.mode == scope.mode,
            others.stripe_customer_id.in_(customers),
        )
    )


@read_rows
def _with_email(scope: Scope, *, emails: Sequence[str]) -> CoreSelect[Any]:
    subjects = table_of(Subject).c
    return core_select(func.lower(subjects.email), subjects.subject_ref).where(
        subjects.project_id == scope.project_id,
        subjects.mode == scope.mode,
        func.lower(subjects.email).in_(emails),
    )
