"""Reads of imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Select as CoreSelect
from sqlalchemy import func
from sqlalchemy import select as core_select
from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_all, read_first, read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Purchase
from licenzy.imports.csv_files import MapLine, read_map
from licenzy.imports.matching import KnownPurchases
from licenzy.imports.models import Import, ImportFile, ImportOutcome, ImportRow
from licenzy.projects.scope import Scope
from licenzy.subjects.models import OtherCustomer, Subject

_ROWS = table_of(ImportRow)


@read_first
def import_by_id(scope: Scope, *, import_id: str) -> SelectOfScalar[Import]:
    """One import of this side."""
    return _imports(scope).where(Import.id == import_id)


@read_first
def locked_import(scope: Scope, *, import_id: str) -> SelectOfScalar[Import]:
    """The same; its row is locked until the transaction ends."""
    return (
        _imports(scope)
        .where(Import.id == import_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


@read_first
def open_import(scope: Scope) -> SelectOfScalar[Import]:
    """The side's import that is not over: there is at most one."""
    return _imports(scope).where(col(Import.ended_at).is_(None))


@read_first
def last_import(scope: Scope) -> SelectOfScalar[Import]:
    """The side's newest import, over or not."""
    return _imports(scope).order_by(col(Import.id).desc()).limit(1)


def imports_page(db: Session, scope: Scope, *, place: Place = NEWEST) -> Page[Import]:
    """The side's imports, the newest first."""
    return read_page(db, _imports(scope), col(Import.id), place)


def _imports(scope: Scope) -> SelectOfScalar[Import]:
    return select(Import).where(Import.project_id == scope.project_id, Import.mode == scope.mode)


def counts_of(db: Session, scope: Scope, *, import_id: str) -> dict[str, int]:
    """How many purchases have each outcome; `left_out` counts those that a person left out instead."""
    found = {outcome.value: 0 for outcome in ImportOutcome} | {"left_out": 0}
    for row in _counts(db, scope, import_id=import_id):
        found["left_out" if row.left_out else row.outcome] += row.purchases
    return found


@read_rows
def _counts(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return (
        core_select(_ROWS.c.outcome, _ROWS.c.left_out, func.count().label("purchases"))
        .where(*_of_import(scope, import_id))
        .group_by(_ROWS.c.outcome, _ROWS.c.left_out)
    )


def results_of(db: Session, scope: Scope, *, import_id: str) -> dict[str, int]:
    """How many purchases the run ended with each result."""
    return {row.result: row.purchases for row in _results(db, scope, import_id=import_id)}


@read_rows
def _results(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return (
        core_select(_ROWS.c.result, func.count().label("purchases"))
        .where(*_of_import(scope, import_id), _ROWS.c.result.is_not(None))
        .group_by(_ROWS.c.result)
    )


def still_to_write(db: Session, scope: Scope, *, import_id: str) -> int:
    """How many matched purchases have not been written yet."""
    return int(_still_to_write(db, scope, import_id=import_id)[0][0])


@read_rows
def _still_to_write(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return core_select(func.count()).where(*_to_write(scope, import_id))


def _to_write(scope: Scope, import_id: str) -> Sequence[Any]:
    return (
        *_of_import(scope, import_id),
        _ROWS.c.outcome == ImportOutcome.MATCHED,
        _ROWS.c.left_out.is_(False),
        _ROWS.c.applied_at.is_(None),
    )


@read_rows
def next_to_write(scope: Scope, *, import_id: str, limit: int) -> CoreSelect[Any]:
    """The keys of matched purchases that have not been written, the newest purchase first."""
    return core_select(_ROWS.c.key).where(*_to_write(scope, import_id)).order_by(_ROWS.c.number).limit(limit)


@read_rows
def matched_newest_first(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    """Key and customer of the matched purchases, those that are not over before the others, newest first."""
    return (
        core_select(_ROWS.c.key, _ROWS.c.subject_ref)
        .where(
            *_of_import(scope, import_id),
            _ROWS.c.outcome == ImportOutcome.MATCHED,
            _ROWS.c.left_out.is_(False),
        )
        .order_by(_ROWS.c.is_over, _ROWS.c.made_at.desc(), _ROWS.c.key)
    )


@read_first
def row_of(scope: Scope, *, import_id: str, key: str) -> SelectOfScalar[ImportRow]:
    """One purchase of an import; its row is locked until the transaction ends."""
    return (
        select(ImportRow)
        .where(
            ImportRow.project_id == scope.project_id,
            ImportRow.mode == scope.mode,
            ImportRow.import_id == import_id,
            ImportRow.key == key,
        )
        .with_for_update()
    )


@read_all
def rows_from(scope: Scope, *, import_id: str, number: int, limit: int) -> SelectOfScalar[ImportRow]:
    """The purchases of an import from a place in the account on, the newest first."""
    return (
        select(ImportRow)
        .where(
            ImportRow.project_id == scope.project_id,
            ImportRow.mode == scope.mode,
            ImportRow.import_id == import_id,
            ImportRow.number >= number,
        )
        .order_by(col(ImportRow.number))
        .limit(limit)
    )


def all_rows(db: Session, scope: Scope, *, import_id: str, at_a_time: int = 500) -> Iterator[ImportRow]:
    """Every purchase of an import, the newest first, of which only some are in memory."""
    number = 0
    while found := rows_from(db, scope, import_id=import_id, number=number, limit=at_a_time):
        yield from found
        number = found[-1].number + 1
        db.expunge_all()


def rows_page(
    db: Session,
    scope: Scope,
    *,
    import_id: str,
    outcome: str | None = None,
    search: str = "",
    place: Place = NEWEST,
) -> Page[ImportRow]:
    """Purchases of an import with one outcome, `left_out` ones apart, whose names contain `search`."""
    statement = select(ImportRow).where(
        ImportRow.project_id == scope.project_id,
        ImportRow.mode == scope.mode,
        ImportRow.import_id == import_id,
    )
    if outcome == "left_out":
        statement = statement.where(col(ImportRow.left_out).is_(True))
    elif outcome is not None:
        statement = statement.where(ImportRow.outcome == outcome, col(ImportRow.left_out).is_(False))
    if search:
        named = (ImportRow.key, ImportRow.stripe_customer_id, ImportRow.email, ImportRow.subject_ref)
        statement = statement.where(or_(*(col(each).icontains(search, autoescape=True) for each in named)))
    return read_page(db, statement, col(ImportRow.key), place)


def map_lines(db: Session, scope: Scope, *, import_id: str) -> list[MapLine]:
    """The lines of the CSV that names the customers; none where there is none."""
    file = file_of(db, scope, import_id=import_id, kind="map")
    return read_map(file.content.encode()) if file is not None else []


@read_first
def file_of(scope: Scope, *, import_id: str, kind: str) -> SelectOfScalar[ImportFile]:
    """A CSV that was given to an import."""
    return select(ImportFile).where(
        ImportFile.project_id == scope.project_id,
        ImportFile.mode == scope.mode,
        ImportFile.import_id == import_id,
        ImportFile.kind == kind,
    )


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
    return KnownPurchases(
        here={row.key for row in _here(db, scope, keys=[each.key for each in rows])},
        kinds=kinds_of_prices(db, scope),
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


def kinds_of_prices(db: Session, scope: Scope) -> dict[str, Kind]:
    """The kind of the product of each Stripe price that is one's, retired ones included."""
    return {row.stripe_price_id: row.kind for row in _kinds(db, scope)}


@read_rows
def _kinds(scope: Scope) -> CoreSelect[Any]:
    prices, products = table_of(ProductPrice).c, table_of(Product).c
    return (
        core_select(prices.stripe_price_id, products.kind)
        .join_from(
            table_of(ProductPrice),
            table_of(Product),
            (products.project_id == prices.project_id) & (products.id == prices.product_id),
        )
        .where(prices.project_id == scope.project_id, prices.mode == scope.mode)
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


def shared_emails(db: Session, scope: Scope, *, import_id: str) -> frozenset[str]:
    """The e-mail addresses that more than one Stripe customer of an import has."""
    return frozenset(row[0] for row in _shared_emails(db, scope, import_id=import_id))


@read_rows
def _shared_emails(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    email = func.lower(_ROWS.c.email)
    return (
        core_select(email)
        .where(*_of_import(scope, import_id), _ROWS.c.email.is_not(None))
        .group_by(email)
        .having(func.count(func.distinct(_ROWS.c.stripe_customer_id)) > 1)
    )


def unmapped_prices(db: Session, scope: Scope, *, import_id: str, most: int = 50) -> list[tuple[str, int]]:
    """The prices that keep purchases from being imported, each with the number of them, the most first."""
    counts: dict[str, int] = {}
    for row in _unmapped(db, scope, import_id=import_id):
        for price in {item["price"] for item in row[0]}:
            counts[price] = counts.get(price, 0) + 1
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:most]


@read_rows
def _unmapped(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return core_select(_ROWS.c["items"]).where(
        *_of_import(scope, import_id), _ROWS.c.outcome == ImportOutcome.PRICE_NOT_MAPPED
    )


def _of_import(scope: Scope, import_id: str) -> Sequence[Any]:
    return (
        _ROWS.c.project_id == scope.project_id,
        _ROWS.c.mode == scope.mode,
        _ROWS.c.import_id == import_id,
    )
