"""Customers with a product, thousands at once: subjects, purchases, facts, and the entitlements of these."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, select

from licenzy.catalog.models import Kind, Product, ProductTerms
from licenzy.catalog.rules import as_sold, terms_of
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Entitlement, Fact, FactSource, Purchase, TermChange
from licenzy.entitlements.projected import Projected, RecordedFact
from licenzy.entitlements.projection import project
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject
from tests.support.clock import START

AT_A_TIME = 2_000


def make_holders(
    db: Session, product: Product, count: int, *, prefix: str = "", now: datetime = START
) -> list[str]:
    """So many customers `user_<prefix><n>` who bought the product now; the keys of their purchases."""
    scope = Scope.of(product)
    keys = [f"{_KEYS[product.kind]}{prefix}{n:06}" for n in range(count)]
    for first in range(0, count, AT_A_TIME):
        rows = [_rows(scope, product, key, now) for key in keys[first : first + AT_A_TIME]]
        for model in (Subject, Purchase, Fact, Entitlement):
            table = table_of(model)
            db.connection().execute(insert(table), [row for each in rows for row in each[model]])
    return keys


_KEYS = {Kind.SUBSCRIPTION: "sub_", Kind.TIME_PASS: "cs_", Kind.USAGE_PACK: "cs_"}


def _rows(scope: Scope, product: Product, key: str, now: datetime) -> dict[type, list[dict[str, Any]]]:
    side = {"project_id": scope.project_id, "mode": scope.mode}
    subject = {
        **side,
        "id": new_id("sbj"),
        "subject_ref": f"user_{key.partition('_')[2]}",
        "created_at": now,
    }
    purchase = {
        **side,
        "key": key,
        "subject_id": subject["id"],
        "created_at": now,
        "finalized_at": now,
    }
    facts = facts_of_purchase(product, key, now)
    (projected,) = project(facts)
    columns = {each.name: getattr(projected, each.name) for each in fields(Projected)}
    columns["created_at"] = columns.pop("granted_at")
    entitlement = {
        **side,
        **columns,
        "id": new_id("ent"),
        "subject_id": subject["id"],
        "purchase_key": key,
        "used_units": 0,
        "reserved_units": 0,
        "updated_at": now,
    }
    stored = [{**side, "id": new_id("fct"), "purchase_key": key, **fact._asdict()} for fact in facts]
    return {Subject: [subject], Purchase: [purchase], Fact: stored, Entitlement: [entitlement]}


def facts_of_purchase(product: Product, key: str, now: datetime) -> list[RecordedFact]:
    """A subscription with its paid session, or a session that paid once."""
    sold = as_sold(product, price_id=product.prices[0].stripe_price_id)
    session: dict[str, Any] = {
        "event": "checkout.session.completed",
        "mode": "payment",
        "payment_status": "paid",
        "amount_total": 1200,
        "currency": "usd",
        "sold": sold,
        "quantity": 1,
        "payment_intent": None,
        "invoice": None,
    }
    if product.kind is not Kind.SUBSCRIPTION:
        return [_fact("session", key, key, session, now)]
    session |= {"mode": "subscription", "sold": None}
    return [_fact("session", key, f"cs_{key}", session, now), state_of(product, key, now)]


def state_of(product: Product, key: str, now: datetime, **changes: Any) -> RecordedFact:
    """An active subscription at the product's first price, on its present terms."""
    price_id = product.prices[0].stripe_price_id
    item = {
        "id": f"si_{key}",
        "price": price_id,
        "quantity": 1,
        "period_start": int(now.timestamp()),
        "period_end": int((now + timedelta(days=30)).timestamp()),
        "sold": as_sold(product, price_id=price_id),
    }
    data = {
        "event": "customer.subscription.updated",
        "status": "active",
        "items": [item],
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "ended_at": None,
        "started_at": int(now.timestamp()),
        "pause": None,
        "previous": {},
        "anchor": None,
        "latest_invoice": None,
        **changes,
    }
    return _fact("subscription", key, key, data, now)


def _fact(kind: str, key: str, object_id: str, data: dict[str, Any], now: datetime) -> RecordedFact:
    source_id = f"evt_{kind}_{key}_{int(now.timestamp())}"
    return RecordedFact(kind, FactSource.EVENT, source_id, object_id, now, data, now)


def make_term_change(
    db: Session, product: Product, *, features: list[str], now: datetime = START, **columns: Any
) -> TermChange:
    """The next version of a product's terms, which its holders are being given."""
    product.terms_version += 1
    product.features = features
    db.add(product)
    version = ProductTerms(
        project_id=product.project_id,
        product_id=product.id,
        version=product.terms_version,
        from_=now,
        terms=terms_of(product),
    )
    change = TermChange(
        project_id=product.project_id,
        mode=product.mode,
        id=new_id("tch"),
        product_id=product.id,
        version=product.terms_version,
        requested_at=now,
        **columns,
    )
    db.add_all([version, change])
    db.flush()
    return change


def terms_facts(db: Session, scope: Scope) -> list[tuple[str, str]]:
    """The source id and purchase of each fact that gives terms, in order."""
    found = db.exec(
        select(Fact.source_id, Fact.purchase_key)
        .where(
            Fact.project_id == scope.project_id, Fact.mode == scope.mode, Fact.source == FactSource.OPERATOR
        )
        .order_by(Fact.source_id)
    )
    return [(source_id, key) for source_id, key in found if key is not None]
