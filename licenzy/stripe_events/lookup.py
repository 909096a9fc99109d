"""What the database knows of readings: one joined read, under the lock of the purchase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, false, null, select, true
from sqlalchemy import Table as SqlTable
from sqlmodel import Session

from licenzy.catalog.models import Product
from licenzy.catalog.rules import ProductTerms
from licenzy.checkout.models import CheckoutAttempt
from licenzy.checkout.queries import NAMED_BY, SoldAttempt
from licenzy.db.upsert import table_of
from licenzy.deliveries.queries import somebody_listens
from licenzy.entitlements.links import key_behind
from licenzy.entitlements.models import Purchase
from licenzy.entitlements.purchases import LockedPurchase
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
    products: Mapping[str, ProductTerms]
    """By price, those that the readings name."""
    has_endpoints: bool


def find_known(
    db: Session, origin: Origin, readings: Sequence[Reading], key: str | None, payments: frozenset[str]
) -> Known:
    """One read: the purchase, held, its subject, the attempt and the products that prices are mapped to.

    Without `key` the purchase is the one that any of the payments belongs to. Where there are payments the
    subject is not held yet: their rows are written before that, in the one order in which all take locks.
    """
    names = attempt_names(readings[0])[:1]
    prices = sorted({price for each in readings for price in _prices(each)})
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
    }
    db.flush()
    rows = db.connection().execute(statement, values).all()
    key_, has_endpoints, *first = rows[0]
    locked, rest = first[:4], first[4:]
    customer, rest = rest[: len(Customer._fields)], rest[len(Customer._fields) :]
    attempt = rest[: len(SoldAttempt._fields)]
    purchase = (
        LockedPurchase(origin.scope.project_id, origin.scope.mode, *locked) if locked[0] is not None else None
    )
    products: dict[str, ProductTerms] = {}
    for row in rows if prices else ():
        product = ProductTerms._make(row[-len(ProductTerms._fields) :])
        products.setdefault(product.stripe_price_id, product)
    return Known(
        key_,
        purchase,
        Customer._make(customer) if customer[0] is not None else None,
        SoldAttempt._make(attempt) if attempt[0] is not None else None,
        products,
        bool(has_endpoints),
    )


_PURCHASES, _SUBJECTS = table_of(Purchase), table_of(Subject)
_ATTEMPTS, _PRODUCTS = table_of(CheckoutAttempt), table_of(Product)


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
    named = _ATTEMPTS.c[NAMED_BY[by]] == bindparam("name") if by else false()
    joined = wanted.outerjoin(locked, true()).outerjoin(
        _ATTEMPTS,
        and_(_here(_ATTEMPTS), _ATTEMPTS.c.connection_id == bindparam("connection_id"), named),
    )
    columns = [*wanted.c, *locked.c, *(_ATTEMPTS.c[name] for name in SoldAttempt._fields)]
    if not priced:
        return select(*columns).select_from(joined)
    prices = _PRODUCTS.c.stripe_price_id.in_(bindparam("prices", expanding=True))
    return (
        select(*columns, *(_PRODUCTS.c[name] for name in ProductTerms._fields))
        .select_from(joined.outerjoin(_PRODUCTS, and_(_here(_PRODUCTS), prices)))
        .order_by(_PRODUCTS.c.created_at, _PRODUCTS.c.id)
    )


def _locked_purchase(key: Any, *, locks_subject: bool) -> Select[Any]:
    """The purchase, held. Together with its subject only where it has one, as `lock_customer` holds it."""
    purchase = [_PURCHASES.c[name] for name in ("key", "subject_id", "attempt_id", "finalized_at")]
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
