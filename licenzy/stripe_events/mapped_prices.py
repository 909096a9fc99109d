"""Subscriptions and mapped prices: who holds a price that is none, finding those once it is, removing one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, and_, cast, func, or_
from sqlmodel import Session, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog import queries as catalog
from licenzy.catalog.models import Kind, PriceBackfill, ProductPrice
from licenzy.catalog.prices import lock_catalog, prices_shown, save_prices
from licenzy.catalog.rules import ProductRefused
from licenzy.connections.queries import connection_of
from licenzy.db.reads import read_all, read_one
from licenzy.db.upsert import insert_new
from licenzy.entitlements import statuses
from licenzy.entitlements.models import Entitlement, Fact, Purchase, State
from licenzy.entitlements.ordering import latest
from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import UnmappedItem
from licenzy.stripe_events.settling import request_reads
from licenzy.workspace.audit import Actor

BATCH = 200
"""How many subscriptions are searched in one transaction."""

_OF_SUBSCRIPTIONS = "sub_"
"""What the keys of subscriptions begin with."""
_OVER = statuses.NOT_BEGUN | statuses.ENDED


def note_unmapped(db: Session, purchase: LockedPurchase, facts: Sequence[FactLike], *, now: datetime) -> None:
    """Keep which prices of a known customer's live subscription are no product's, by all of its facts.

    A subscription that never held such a price costs nothing.
    """
    states = [f for f in facts if f.kind == "subscription" and f.data["status"] in statuses.KNOWN]
    if not any(_unmapped(state) for state in states):
        return
    current = latest(states)
    wanted = {} if current.data["status"] in _OVER else _unmapped(current)
    scope = purchase.scope
    here = (
        col(UnmappedItem.project_id) == scope.project_id,
        col(UnmappedItem.mode) == scope.mode,
        col(UnmappedItem.purchase_key) == purchase.key,
    )
    db.exec(delete(UnmappedItem).where(*here, col(UnmappedItem.stripe_price_id).not_in(list(wanted))))
    rows = [
        {
            "project_id": purchase.project_id,
            "mode": purchase.mode,
            "purchase_key": purchase.key,
            "stripe_price_id": price_id,
            "stripe_product_id": product_id,
            "seen_at": now,
        }
        for price_id, product_id in wanted.items()
    ]
    insert_new(db, UnmappedItem, *rows, returning=("stripe_price_id",))


def _unmapped(state: FactLike) -> dict[str, str | None]:
    """The prices of a state that are no product's, with their Stripe products."""
    items: Sequence[Mapping[str, Any]] = state.data["items"]
    return {item["price"]: item.get("product") for item in items if not item.get("sold")}


# --- removing a price ----------------------------------------------------------------------------------


def remove_price(
    db: Session, scope: Scope, *, product_id: str, price_id: str, actor: Actor, now: datetime
) -> ProductPrice:
    """Let a price mean the product no longer; what was bought at it stays as it was bought.

    Raises ProductNotFound, NotFound, and ProductRefused while live subscriptions hold it.
    """
    lock_catalog(db, scope)
    product = catalog.product(db, scope, product_id=product_id)
    price = catalog.price_of(product, price_id=price_id)
    holders = live_holders(
        db, scope, stripe_price_id=price.stripe_price_id, product_code=product.product_code
    )
    if holders:
        counted = "1 subscription holds" if holders == 1 else f"{holders} subscriptions hold"
        raise ProductRefused(
            {"price_id": f"{counted} this price. Retire it instead: then nobody can buy at it."}
        )
    before = prices_shown(product)
    backfill = db.get(PriceBackfill, (scope.project_id, price.id))
    if backfill is not None:
        db.delete(backfill)
    db.delete(price)
    product.prices = [each for each in product.prices if each is not price]
    save_prices(db, product, "product.price_removed", before=before, actor=actor, now=now)
    return price


@read_one
def live_holders(scope: Scope, *, stripe_price_id: str, product_code: str) -> SelectOfScalar[int]:
    """How many items of subscriptions that are not over hold a price.

    Those of which the price is not known yet count by their product: an earlier version did not keep it.
    """
    unknown = and_(col(Entitlement.stripe_price_id).is_(None), col(Entitlement.product_code) == product_code)
    return select(func.count()).where(
        Entitlement.project_id == scope.project_id,
        Entitlement.mode == scope.mode,
        Entitlement.kind == Kind.SUBSCRIPTION,
        Entitlement.source == "stripe",
        Entitlement.state != State.CANCELED,
        or_(col(Entitlement.stripe_price_id) == stripe_price_id, unknown),
    )


# --- finding who holds a price that was mapped just now --------------------------------------------------


def search_next(db: Session, *, now: datetime, batch: int = BATCH) -> bool:
    """Search the next subscriptions for a newly mapped price, and ask for a read of those that name it.

    For the worker: one batch of the search that was requested first, of any project. False without any.
    """
    backfill = db.exec(_due_backfill()).first()
    if backfill is None:
        return False
    scope = Scope(backfill.project_id, backfill.mode)
    connection = connection_of(db, scope)
    if backfill.total is None:
        backfill.total = _subscriptions(db, scope)
    keys = _next_keys(db, scope, after=backfill.last_key, limit=batch)
    found = _naming(db, scope, keys, backfill.stripe_price_id)
    if connection is not None:
        request_reads(db, scope, connection_id=connection.id, object_ids=found, now=now)
    backfill.searched += len(keys)
    backfill.found += len(found)
    backfill.last_key = keys[-1] if keys else backfill.last_key
    if len(keys) < batch:
        backfill.finished_at = now
    db.add(backfill)
    db.flush()
    return True


def _due_backfill() -> SelectOfScalar[PriceBackfill]:
    return (
        select(PriceBackfill)
        .where(col(PriceBackfill.finished_at).is_(None))
        .order_by(col(PriceBackfill.requested_at), col(PriceBackfill.price_id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )


@read_one
def _subscriptions(scope: Scope) -> SelectOfScalar[int]:
    return select(func.count()).select_from(Purchase).where(*_are_subscriptions(scope))


@read_all
def _next_keys(scope: Scope, *, after: str, limit: int) -> SelectOfScalar[str]:
    return (
        select(Purchase.key)
        .where(*_are_subscriptions(scope), Purchase.key > after)
        .order_by(Purchase.key)
        .limit(limit)
    )


def _are_subscriptions(scope: Scope) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Purchase.project_id) == scope.project_id,
        col(Purchase.mode) == scope.mode,
        col(Purchase.key).startswith(_OF_SUBSCRIPTIONS, autoescape=True),
    )


def _naming(db: Session, scope: Scope, keys: Sequence[str], price_id: str) -> list[str]:
    """Those of these subscriptions of which a fact names a price; the database compares the text of facts."""
    if not keys:
        return []
    data = cast(Fact.data, String)
    statement = (
        select(Fact.purchase_key)
        .where(
            Fact.project_id == scope.project_id,
            Fact.mode == scope.mode,
            Fact.kind == "subscription",
            col(Fact.purchase_key).in_(keys),
            data.contains(json.dumps(price_id), autoescape=True),
        )
        .distinct()
    )
    return [key for key in db.exec(statement) if key is not None]
