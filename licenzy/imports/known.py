"""What the database knows of purchases at an account, by which they are matched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select as CoreSelect
from sqlalchemy import func
from sqlalchemy import select as core_select
from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.catalog.queries import mapped_prices
from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.reads import read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.queries import owned_purchases
from licenzy.imports.matching import KnownPurchases
from licenzy.imports.models import ImportRow
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import customer_links


def known_of(
    db: Session, scope: Scope, rows: Sequence[ImportRow], *, shared_emails: frozenset[str]
) -> KnownPurchases:
    """What the database knows of some purchases of an import."""
    customers = {each.stripe_customer_id for each in rows if each.stripe_customer_id is not None}
    emails = {each.email.lower() for each in rows if each.email}
    sessions = [each.named.get("session") or each.key for each in rows]
    return KnownPurchases(
        opened_here={row[0] for row in _opened_here(db, scope, sessions=sessions)},
        here=owned_purchases(db, scope, keys=[each.key for each in rows]),
        kinds=kinds_of_prices(db, scope, prices={item["price"] for row in rows for item in row.items}),
        linked=_grouped(_linked(db, scope, customers=sorted(customers))),
        by_email=_grouped(_with_email(db, scope, emails=sorted(emails))),
        shared_emails=shared_emails,
        project_id=scope.project_id,
    )


def kinds_of_prices(db: Session, scope: Scope, *, prices: Iterable[str]) -> dict[str, Kind]:
    """The kind of the product of each of these Stripe prices that is one's, retired ones included."""
    mapped = mapped_prices(db, scope, price_ids=set(prices))
    return {price_id: each.kind for price_id, each in mapped.items()}


def _grouped(pairs: Iterable[Sequence[Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, ref in pairs:
        refs = found.setdefault(name, [])
        if ref not in refs:
            refs.append(ref)
    return found


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
    links, subjects = customer_links(scope, customers=customers), table_of(Subject)
    return core_select(links.c.customer, subjects.c.subject_ref).join_from(
        links,
        subjects,
        (subjects.c.project_id == scope.project_id)
        & (subjects.c.mode == scope.mode)
        & (subjects.c.id == links.c.subject_id),
    )


@read_rows
def _with_email(scope: Scope, *, emails: Sequence[str]) -> CoreSelect[Any]:
    subjects = table_of(Subject).c
    return core_select(func.lower(subjects.email), subjects.subject_ref).where(
        subjects.project_id == scope.project_id,
        subjects.mode == scope.mode,
        func.lower(subjects.email).in_(emails),
    )
