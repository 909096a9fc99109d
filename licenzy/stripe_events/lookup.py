"""What the database knows of readings: one joined read, under the lock of the purchase.

What the items' prices mean comes with it: the terms that were in force when the readings happened at Stripe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, null, select, true, union_all
from sqlalchemy import Table as SqlTable
from sqlmodel import Session

from licenzy.catalog.models import Product, ProductPrice, ProductTerms
from licenzy.catalog.rules import MappedTerms
from licenzy.checkout.models import CheckoutAttempt
from licenzy.checkout.queries import NAMED_BY, SoldAttempt
from licenzy.db.columns import Instant
from licenzy.db.upsert import table_of
from licenzy.deliveries.queries import somebody_listens
from licenzy.entitlements.links import key_behind
from licenzy.entitlements.models import Purchase
from licenzy.entitlements.purchases import LOCKED_COLUMNS, LockedPurchase
from licenzy.stripe_events.read import Origin
from licenzy.stripe_gateway.shapes import Reading
from licenzy.subjects.actions import Customer
from licenzy.subjects.models import Subject


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows of readings, at one look."""

    key: str | None
    """The purchase's; None while no purchase of the payment is known."""
    purchase: LockedPurchase | None
    subject: Customer | None
    attempt: SoldAttempt | None
    """By the surest name of the first reading."""
    prices: Mapping[str, MappedTerms]
    """What the prices that the readings name mean, retired ones included; by Stripe's id."""
    products: Mapping[str, MappedTerms]
    """What Stripe products that the readings name mean: those whose mapped prices all mean one product."""
    has_endpoints: bool


def find_known(
    db: Session, origin: Origin, readings: Sequence[Reading], key: str | None, payments: frozenset[str]
) -> Known:
    """One read: the purchase, held, its subject, the attempt and what the items' prices mean.

    Without `key` the purchase is the one that any of the payments belongs to. Where there are payments the
    subject is not held yet: their rows are written before that, in the one order in which all take locks.
    """
    names = attempt_names(readings[0])[:1]
    prices = sorted({price for each in readings for price in _prices(each)})
    items = [item for each in readings if each.kind == "subscription" for item in each.data["items"]]
    statement = _lookup_statement(
        by=names[0][0] if names else None,
        by_payment=key is None,
        locks_subject=not payments,
        priced=bool(prices),
    )
    values = {
        "project_id": origin.scope.project_id,
        "mode": origin.scope.mode,
        "connection_id": origin.connection_id,
        "key": key,
        "refs": sorted(payments),
        "name": names[0][1] if names else None,
        "prices": prices,
        "stripe_products": sorted({item["product"] for item in items if item["product"]}),
        "at": origin.occurred_at,
    }
    db.flush()
    rows = db.connection().execute(statement, values).all()
    key_, has_endpoints, *first = rows[0]
    locked, rest = first[: len(LOCKED_COLUMNS)], first[len(LOCKED_COLUMNS) :]
    customer, rest = rest[: len(Customer._fields)], rest[len(Customer._fields) :]
    attempt = rest[: len(SoldAttempt._fields)]
    purchase = (
        LockedPurchase(origin.scope.project_id, origin.scope.mode, *locked) if locked[0] is not None else None
    )
    found = [row[-len(MappedTerms._fields) :] for row in rows] if prices else []
    mapped = [MappedTerms._make(each) for each in found if each[0] is not None]
    return Known(
        key_,
        purchase,
        Customer._make(customer) if customer[0] is not None else None,
        SoldAttempt._make(attempt) if attempt[0] is not None else None,
        _by_price(mapped),
        _by_product(mapped),
        bool(has_endpoints),
    )


def _by_price(mapped: Sequence[MappedTerms]) -> dict[str, MappedTerms]:
    """Of several products with one price the oldest, which comes first."""
    return {each.stripe_price_id: each for each in reversed(mapped)}


def _by_product(mapped: Sequence[MappedTerms]) -> dict[str, MappedTerms]:
    meant: dict[str, set[str]] = {}
    for each in mapped:
        meant.setdefault(each.stripe_product_id, set()).add(each.product_id)
    return {each.stripe_product_id: each for each in mapped if len(meant[each.stripe_product_id]) == 1}


_PURCHASES, _SUBJECTS = table_of(Purchase), table_of(Subject)
_ATTEMPTS, _PRODUCTS = table_of(CheckoutAttempt), table_of(Product)
_PRICES, _TERMS = table_of(ProductPrice), table_of(ProductTerms)


@lru_cache(maxsize=32)
def _lookup_statement(*, by: str | None, by_payment: bool, locks_subject: bool, priced: bool) -> Select[Any]:
    """The statement of a look, made once for each shape that it has."""
    project_id: Any = bindparam("project_id")
    mode: Any = bindparam("mode")
    key: Any = bindparam("key", type_=_PURCHASES.c.key.type)
    if by_payment:
        key = key_behind(project_id, mode, bindparam("refs", expanding=True)).scalar_subquery()
    wanted = select(key.label("key"), somebody_listens(project_id, mode).label("has_endpoints")).subquery(
        "asked"
    )
    locked = _locked_purchase(key, locks_subject=locks_subject).subquery("held")
    # Without a name it is NULL, which equals nothing. For a join on `false` SQLite reads the whole table.
    named = _ATTEMPTS.c[NAMED_BY[by or "attempt"]] == bindparam("name")
    joined = wanted.outerjoin(locked, true()).outerjoin(
        _ATTEMPTS,
        and_(_here(_ATTEMPTS), _ATTEMPTS.c.connection_id == bindparam("connection_id"), named),
    )
    columns = [*wanted.c, *locked.c, *(_ATTEMPTS.c[name] for name in SoldAttempt._fields)]
    if not priced:
        return select(*columns).select_from(joined)
    mapped = _mapped_terms().subquery("mapped")
    return (
        select(*columns, *(mapped.c[name] for name in MappedTerms._fields))
        .select_from(joined.outerjoin(mapped, true()))
        .order_by(mapped.c.created_at, mapped.c.product_id)
    )


def _mapped_terms() -> Select[Any]:
    """What these prices, and all mapped prices of these Stripe products, mean at an instant.

    The first terms of a product also mean what was before them.
    """
    versions = _TERMS.alias("versions")
    in_force = (
        select(func.max(versions.c.version))
        .where(
            versions.c.project_id == _PRICES.c.project_id,
            versions.c.product_id == _PRICES.c.product_id,
            versions.c.from_ <= bindparam("at", type_=Instant()),
        )
        .scalar_subquery()
    )
    is_its_product = and_(
        _PRODUCTS.c.project_id == _PRICES.c.project_id, _PRODUCTS.c.id == _PRICES.c.product_id
    )
    is_in_force = and_(
        _TERMS.c.project_id == _PRICES.c.project_id,
        _TERMS.c.product_id == _PRICES.c.product_id,
        _TERMS.c.version == func.coalesce(in_force, 1),
    )
    # Two searches by their indexes: with `or`, SQLite reads all prices of the side.
    named = union_all(
        _price_ids(_PRICES.c.stripe_price_id, "prices"),
        _price_ids(_PRICES.c.stripe_product_id, "stripe_products"),
    )
    return (
        select(
            _PRODUCTS.c.id.label("product_id"),
            _PRODUCTS.c.kind,
            _PRODUCTS.c.product_code,
            _PRODUCTS.c.created_at,
            _TERMS.c.version,
            _TERMS.c.terms,
            _PRICES.c.stripe_price_id,
            _PRICES.c.stripe_product_id,
        )
        .select_from(_PRICES)
        .join(_PRODUCTS, is_its_product)
        .join(_TERMS, is_in_force)
        .where(_PRICES.c.project_id == bindparam("project_id"), _PRICES.c.id.in_(named))
    )


def _price_ids(column: ColumnElement[str], names: str) -> Select[Any]:
    return select(_PRICES.c.id).where(_here(_PRICES), column.in_(bindparam(names, expanding=True)))


def _locked_purchase(key: Any, *, locks_subject: bool) -> Select[Any]:
    """The purchase, held. Together with its subject only where it has one, as `lock_customer` holds it."""
    purchase = [_PURCHASES.c[name] for name in LOCKED_COLUMNS]
    if not locks_subject:
        nobody = [null().label(name) for name in Customer._fields]
        found = select(*purchase, *nobody).where(_here(_PURCHASES), _PURCHASES.c.key == key)
        return found.with_for_update(of=_PURCHASES)
    whose = and_(_here(_SUBJECTS), _SUBJECTS.c.id == _PURCHASES.c.subject_id)
    return (
        select(*purchase, *(_SUBJECTS.c[name] for name in Customer._fields))
        .join_from(_PURCHASES, _SUBJECTS, whose)
        .where(_here(_PURCHASES), _PURCHASES.c.key == key)
        .with_for_update(of=[_PURCHASES, _SUBJECTS], key_share=True)
    )


def _here(table: SqlTable) -> Any:
    return and_(table.c.project_id == bindparam("project_id"), table.c.mode == bindparam("mode"))


def _prices(reading: Reading) -> Iterator[str]:
    """The prices that a reading names."""
    of_kind = {"subscription": "items", "session": "lines"}.get(reading.kind, "")
    for each in reading.data.get(of_kind, ()):
        if each["price"] is not None:
            yield each["price"]


def attempt_names(reading: Reading) -> list[tuple[str, str]]:
    """What names the attempt behind an object, the surest first."""
    named = reading.data.get("attempt")
    names = [("attempt", named)] if isinstance(named, str) else []
    if reading.kind == "session":
        names.append(("session", reading.object_id))
    elif reading.kind in {"subscription", "invoice"}:
        subscription = reading.object_id if reading.kind == "subscription" else reading.data["subscription"]
        names.append(("subscription", subscription))
    return names
