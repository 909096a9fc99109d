"""Reads of imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select as CoreSelect
from sqlalchemy import func
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_all, read_first, read_row, read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.imported import IMPORT
from licenzy.entitlements.models import Fact, Purchase
from licenzy.imports.csv_files import MapLine, read_map
from licenzy.imports.models import Import, ImportFile, ImportOutcome, ImportRow
from licenzy.projects.scope import Scope

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
        .where(*of_import(scope, import_id))
        .group_by(_ROWS.c.outcome, _ROWS.c.left_out)
    )


def results_of(db: Session, scope: Scope, *, import_id: str) -> dict[str, int]:
    """How many purchases the run ended with each result."""
    return {row.result: row.purchases for row in _results(db, scope, import_id=import_id)}


@read_rows
def _results(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return (
        core_select(_ROWS.c.result, func.count().label("purchases"))
        .where(*of_import(scope, import_id), _ROWS.c.result.is_not(None))
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
        *of_import(scope, import_id),
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
            *of_import(scope, import_id),
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
def rows_of(scope: Scope, *, import_id: str, keys: Sequence[str]) -> SelectOfScalar[ImportRow]:
    """Several purchases of an import."""
    return select(ImportRow).where(
        ImportRow.project_id == scope.project_id,
        ImportRow.mode == scope.mode,
        ImportRow.import_id == import_id,
        col(ImportRow.key).in_(keys),
    )


def used_before(db: Session, scope: Scope, row: ImportRow, *, subject_id: str) -> dict[str, int]:
    """The units, by unit, by which an import has lowered other purchases of the same Stripe customer's."""
    found: dict[str, int] = {}
    customer = row.stripe_customer_id or ""
    lowered = _lowered(db, scope, import_id=row.import_id, subject_id=subject_id, customer=customer)
    for each in lowered:
        if each.purchase_key != row.key and each.source_id.startswith(f"{IMPORT}:{each.purchase_key}:used:"):
            found[each.data["unit"]] = found.get(each.data["unit"], 0) - int(each.data["units"])
    return found


@read_rows
def _lowered(scope: Scope, *, import_id: str, subject_id: str, customer: str) -> CoreSelect[Any]:
    facts, purchases = table_of(Fact).c, table_of(Purchase).c
    theirs = (
        (facts.project_id == purchases.project_id)
        & (facts.mode == purchases.mode)
        & (facts.purchase_key == purchases.key)
    )
    same = (
        (purchases.project_id == _ROWS.c.project_id)
        & (purchases.mode == _ROWS.c.mode)
        & (purchases.key == _ROWS.c.key)
    )
    return (
        core_select(facts.source_id, facts.purchase_key, facts.data)
        .join_from(table_of(Purchase), table_of(Fact), theirs)
        .join(_ROWS, same)
        .where(
            purchases.project_id == scope.project_id,
            purchases.mode == scope.mode,
            purchases.subject_id == subject_id,
            _ROWS.c.import_id == import_id,
            _ROWS.c.stripe_customer_id == customer,
            facts.kind == "operator",
        )
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


def map_file(db: Session, scope: Scope, *, import_id: str) -> MapFile:
    """The CSV that names the customers, with those of its lines that name a purchase of the import."""
    file = file_of(db, scope, import_id=import_id, kind="map")
    if file is None:
        return MapFile(None, ())
    names: set[str] = set()
    for row in _names(db, scope, import_id=import_id):
        names |= {name for name in (row.key, row.stripe_customer_id, (row.email or "").lower()) if name}
    lines = read_map(file.content)
    return MapFile(file.version, [line for line in lines if line.names_one_of(names)])


class MapFile(NamedTuple):
    """What was read of a CSV that names the customers."""

    version: int | None
    lines: Sequence[MapLine]


@read_rows
def _names(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return core_select(_ROWS.c.key, _ROWS.c.stripe_customer_id, _ROWS.c.email).where(
        *of_import(scope, import_id)
    )


def map_version(db: Session, scope: Scope, *, import_id: str) -> int | None:
    """How often a CSV that names the customers was given; None where there is none."""
    row = _map_version(db, scope, import_id=import_id)
    return None if row is None else int(row.version)


@read_row
def _map_version(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    files = table_of(ImportFile).c
    return core_select(files.version).where(
        files.project_id == scope.project_id,
        files.mode == scope.mode,
        files.import_id == import_id,
        files.kind == "map",
    )


@read_first
def file_of(scope: Scope, *, import_id: str, kind: str) -> SelectOfScalar[ImportFile]:
    """A CSV that was given to an import."""
    return select(ImportFile).where(
        ImportFile.project_id == scope.project_id,
        ImportFile.mode == scope.mode,
        ImportFile.import_id == import_id,
        ImportFile.kind == kind,
    )


def shared_emails(db: Session, scope: Scope, *, import_id: str) -> frozenset[str]:
    """The e-mail addresses that more than one Stripe customer of an import has."""
    return frozenset(row[0] for row in _shared_emails(db, scope, import_id=import_id))


@read_rows
def _shared_emails(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    email = func.lower(_ROWS.c.email)
    return (
        core_select(email)
        .where(*of_import(scope, import_id), _ROWS.c.email.is_not(None))
        .group_by(email)
        .having(func.count(func.distinct(_ROWS.c.stripe_customer_id)) > 1)
    )


def of_import(scope: Scope, import_id: str) -> Sequence[Any]:
    """What tells the rows of an import."""
    return (
        _ROWS.c.project_id == scope.project_id,
        _ROWS.c.mode == scope.mode,
        _ROWS.c.import_id == import_id,
    )
