"""What the pages show of an import: its purchases by what became of them, and files written of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select as CoreSelect
from sqlalchemy import func
from sqlalchemy import select as core_select
from sqlmodel import Session, col, or_, select

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_rows
from licenzy.db.upsert import table_of
from licenzy.imports import queries
from licenzy.imports.compare import Difference, compare
from licenzy.imports.csv_files import read_access
from licenzy.imports.models import Import, ImportOutcome, ImportRow
from licenzy.imports.wording import MATCHED_BY, REASONS, RESULTS
from licenzy.kit.clock import rfc3339
from licenzy.projects.scope import Scope

_ROWS = table_of(ImportRow)
_CHANGED = ("here_already", "no_longer_clear", "price_not_mapped")
"""The results of purchases that were matched, and were no longer to be written."""
PURCHASE_COLUMNS = (
    "purchase",
    "status_at_stripe",
    "created",
    "stripe_customer_id",
    "email",
    "prices",
    "outcome",
    "subject_ref",
    "matched_by",
    "reason",
    "candidates",
    "result",
)
DIFFERENCE_COLUMNS = ("subject_ref", "product_code", "your_list", "licenzy", "why")


def counts_of_report(db: Session, scope: Scope, *, import_id: str) -> dict[str, int]:
    """How many purchases became what once the import is over.

    Of those that were matched, `imported`, `failed`, `changed` (no longer to be written) and `not_written`
    (stopped before); of the others their outcome, or `left_out`.
    """
    outcomes = queries.counts_of(db, scope, import_id=import_id)
    results = queries.results_of(db, scope, import_id=import_id)
    matched = outcomes.pop(ImportOutcome.MATCHED.value)
    return {
        "imported": results.get("imported", 0),
        "failed": results.get("failed", 0),
        "changed": sum(results.get(each, 0) for each in _CHANGED),
        "not_written": matched - sum(results.values()),
        **outcomes,
    }


def shown_page(
    db: Session, scope: Scope, *, import_id: str, shown: str, search: str = "", place: Place = NEWEST
) -> Page[ImportRow]:
    """Purchases of an import whose names contain `search`.

    `shown` is a key of `counts_of` or `counts_of_report`, or empty for all.
    """
    statement = select(ImportRow).where(
        ImportRow.project_id == scope.project_id,
        ImportRow.mode == scope.mode,
        ImportRow.import_id == import_id,
    )
    if shown == "changed":
        statement = statement.where(col(ImportRow.result).in_(_CHANGED))
    elif shown in {"imported", "failed"}:
        statement = statement.where(ImportRow.result == shown)
    elif shown == "not_written":
        statement = statement.where(
            ImportRow.outcome == ImportOutcome.MATCHED,
            col(ImportRow.left_out).is_(False),
            col(ImportRow.result).is_(None),
        )
    elif shown == "left_out":
        statement = statement.where(col(ImportRow.left_out).is_(True))
    elif shown:
        statement = statement.where(ImportRow.outcome == shown, col(ImportRow.left_out).is_(False))
    if search:
        named = (ImportRow.key, ImportRow.stripe_customer_id, ImportRow.email, ImportRow.subject_ref)
        statement = statement.where(or_(*(col(each).icontains(search, autoescape=True) for each in named)))
    return read_page(db, statement, col(ImportRow.key), place)


def proposals_of(db: Session, scope: Scope, *, import_id: str) -> int:
    """How many purchases wait for a person whose e-mail address proposes one customer only."""
    found = _email_only(db, scope, import_id=import_id)
    return sum(len(row.candidates) == 1 for row in found)


@read_rows
def _email_only(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return core_select(_ROWS.c.candidates).where(
        *queries.of_import(scope, import_id),
        _ROWS.c.outcome == ImportOutcome.AMBIGUOUS,
        _ROWS.c.reason == "email_only",
        _ROWS.c.left_out.is_(False),
    )


class PriceNotMapped(NamedTuple):
    """A price of no product's, and how many purchases it keeps from being imported."""

    stripe_price_id: str
    stripe_product_id: str | None
    purchases: int


def unmapped_prices(db: Session, scope: Scope, *, import_id: str, most: int = 50) -> list[PriceNotMapped]:
    """The prices that keep purchases from being imported, those that keep the most first."""
    found: dict[str, PriceNotMapped] = {}
    for row in _unmapped_items(db, scope, import_id=import_id):
        for price, product in {item["price"]: item.get("product") for item in row[0]}.items():
            before = found[price].purchases if price in found else 0
            found[price] = PriceNotMapped(price, product, before + 1)
    return sorted(found.values(), key=lambda each: (-each.purchases, each.stripe_price_id))[:most]


@read_rows
def _unmapped_items(scope: Scope, *, import_id: str) -> CoreSelect[Any]:
    return core_select(_ROWS.c["items"]).where(
        *queries.of_import(scope, import_id), _ROWS.c.outcome == ImportOutcome.PRICE_NOT_MAPPED
    )


def imported_of(db: Session, scope: Scope, *, import_ids: Sequence[str]) -> dict[str, int]:
    """How many purchases each of these imports wrote."""
    return {row.import_id: row.purchases for row in _imported(db, scope, import_ids=import_ids)}


@read_rows
def _imported(scope: Scope, *, import_ids: Sequence[str]) -> CoreSelect[Any]:
    return (
        core_select(_ROWS.c.import_id, func.count().label("purchases"))
        .where(
            _ROWS.c.project_id == scope.project_id,
            _ROWS.c.mode == scope.mode,
            _ROWS.c.import_id.in_(import_ids),
            _ROWS.c.result == "imported",
        )
        .group_by(_ROWS.c.import_id)
    )


# --- the merchant's own list ------------------------------------------------------------------------------


def differences(db: Session, scope: Scope, import_: Import, *, now: datetime) -> Iterator[Difference]:
    """Every difference between the list that was kept and the access after the import."""
    file = queries.file_of(db, scope, import_id=import_.id, kind="compare")
    if file is not None:
        yield from compare(db, scope, import_, read_access(file.content), now=now)


# --- files ------------------------------------------------------------------------------------------------


def purchase_lines(db: Session, scope: Scope, *, import_id: str) -> Iterator[Sequence[object]]:
    """All purchases of an import in the columns of PURCHASE_COLUMNS."""
    for row in queries.all_rows(db, scope, import_id=import_id):
        yield (
            row.key,
            row.status,
            rfc3339(row.made_at),
            row.stripe_customer_id,
            row.email,
            " ".join(item["price"] for item in row.items),
            "left_out" if row.left_out else row.outcome.value,
            row.subject_ref,
            MATCHED_BY.get(row.matched_by or "", ""),
            REASONS.get(row.reason or "", ""),
            " ".join(row.candidates),
            RESULTS.get(row.result or "", ""),
        )


def difference_lines(found: Iterable[Difference]) -> Iterator[Sequence[object]]:
    """Differences in the columns of DIFFERENCE_COLUMNS."""
    for each in found:
        listed, given = ("access", "no access") if each.is_listed else ("no access", "access")
        yield each.subject_ref, each.product_code, listed, given, each.why
