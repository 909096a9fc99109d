"""What the page of an import shows, as template context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request, url_for
from sqlmodel import Session

from licenzy.catalog import queries as catalog
from licenzy.catalog.models import Product
from licenzy.catalog.prices import prices_at_stripe
from licenzy.connections.queries import connection_of
from licenzy.db.paging import NEWEST, Page, Place
from licenzy.deliveries.queries import endpoints
from licenzy.errors import LicenzyError
from licenzy.imports import queries, reports
from licenzy.imports.actions import is_to_choose
from licenzy.imports.models import UNDER_WAY, Import, ImportOutcome, ImportRow, ImportStep
from licenzy.imports.wording import MATCHED_BY, REASONS, RESULTS
from licenzy.portal.blueprint import may_be_stripe_id
from licenzy.portal.guards import Side
from licenzy.portal.imports.forms import ImportForm, KeysForm, UploadForm
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.runtime import runtime
from licenzy.stripe_gateway.client import PriceFacts
from licenzy.workspace.models import Role
from licenzy.workspace.queries import names_of

_TILES = {
    "imported": ("Imported", "good"),
    "failed": ("Failed", "bad"),
    "changed": ("Changed meanwhile", "warn"),
    "not_written": ("Not imported yet", "muted"),
    "matched": ("Matched", "good"),
    "ambiguous": ("Ambiguous", "warn"),
    "unmatched": ("Unmatched", "warn"),
    "price_not_mapped": ("Price not mapped", "warn"),
    "here_already": ("Here already", "muted"),
    "ended": ("Ended", "muted"),
    "left_out": ("Left out", "muted"),
}
MEANINGS = {
    "imported": "These purchases were imported.",
    "failed": "These purchases could not be written. The server’s log has the reason. Start another import "
    "to try them again.",
    "changed": "These purchases were matched, and something changed before they were written.",
    "not_written": "The import was stopped before these purchases were written. Another import brings them.",
    "matched": "These purchases are imported when you run the import.",
    "ambiguous": "Nothing is imported while a purchase is ambiguous. Assign each one, or leave it out.",
    "unmatched": "Nothing says whose these purchases are. They are not imported. Name another metadata key, "
    "upload a CSV, or assign them one by one.",
    "price_not_mapped": "No product has the prices of these purchases. Map the prices, then match again.",
    "here_already": "These purchases belong to a customer here. They stay as they are.",
    "ended": "These subscriptions are over. They are imported only when you ask for ended ones.",
    "left_out": "These purchases were left out by name. They are not imported.",
    "": "All purchases that were read.",
}
"""What each part of the list holds, as sentences."""


@dataclass(frozen=True, slots=True)
class ImportTile:
    """A number of purchases, which leads to the list of them."""

    shown: str
    label: str
    tone: str
    count: int


@dataclass(frozen=True, slots=True)
class UnmappedImportPrice:
    """A price that keeps purchases from being imported, and where it is mapped in one click."""

    price_id: str
    purchases: int
    facts: PriceFacts | None
    product: Product | None
    """The one that all mapped prices of its Stripe product belong to."""
    mapped_now: bool

    @property
    def url(self) -> str:
        if self.product is None:
            return url_for("portal.project.new_product", price_id=self.price_id)
        return url_for(
            "portal.project.edit_product",
            product_id=self.product.id,
            add=self.price_id,
            _anchor="add-price",
        )


def start_context(side: Side, form: ImportForm | None = None) -> dict[str, Any]:
    """The form of a new import, or what is missing before one can be started."""
    with runtime().database.read() as db:
        connection = connection_of(db, side.scope)
        has_products = any(product.prices for product in _products(db, side))
        return {
            "form": form if form is not None else ImportForm(formdata=None),
            "connected": connection is not None and connection.key_sealed is not None,
            "account": connection.account_name if connection is not None else None,
            "has_products": has_products,
            "has_endpoints": bool(endpoints(db, side.scope)),
            **_earlier(db, side, None),
        }


def import_context(side: Side, import_: Import, **overrides: Any) -> dict[str, Any]:
    """An import with its progress, its preview or its report."""
    with runtime().database.read() as db:
        context = progress_context(db, side, import_)
        if import_.step not in UNDER_WAY:
            context |= _listed(db, side, import_, context["counts"])
        context |= _earlier(db, side, import_)
        context["names"] |= names_of(
            db, user_ids=[each for each in (import_.started_by, import_.run_by) if each is not None]
        )
        context["files"] = {
            kind: file.name
            for kind in ("map", "compare")
            if (file := queries.file_of(db, side.scope, import_id=import_.id, kind=kind)) is not None
        }
    if context.get("shown") == ImportOutcome.PRICE_NOT_MAPPED and import_.step is ImportStep.PREVIEW:
        context["unmapped"] = _with_facts(side, context["unmapped"])
    forms = {
        "keys_form": KeysForm(formdata=None, data={"metadata_keys": ", ".join(import_.metadata_keys)}),
        "map_form": UploadForm(suffix="map"),
        "compare_form": UploadForm(suffix="compare"),
        "run_error": None,
    }
    return {**context, **forms, **overrides}


def progress_context(db: Session, side: Side, import_: Import) -> dict[str, Any]:
    """How far an import is."""
    counts = queries.counts_of(db, side.scope, import_id=import_.id)
    to_write = queries.still_to_write(db, side.scope, import_id=import_.id)
    wait = (import_.next_try_at - runtime().clock()).total_seconds() if import_.next_try_at else 0
    return {
        "job": import_,
        "under_way": import_.step in UNDER_WAY,
        "counts": counts,
        "written": counts["matched"] - to_write,
        "to_write": counts["matched"],
        "retry_seconds": max(1, round(wait)),
    }


def _listed(db: Session, side: Side, import_: Import, counts: Mapping[str, int]) -> dict[str, Any]:
    scope, in_preview = side.scope, import_.step is ImportStep.PREVIEW
    if not in_preview:
        counts = reports.counts_of_report(db, scope, import_id=import_.id)
    shown, search = request.args.get("show"), request.args.get("search", "").strip()[:200]
    if shown not in {*counts, ""}:
        shown = "" if search else _first(counts)
    place = _requested_place()
    page = reports.shown_page(db, scope, import_id=import_.id, shown=shown or "", search=search, place=place)
    products = _products(db, side)
    codes = {price.stripe_price_id: each.product_code for each in products for price in each.prices}
    unmapped = _unmapped(db, side, import_, products) if in_preview else []
    return {
        "tiles": [
            ImportTile(name, *_TILES[name], count)
            for name, count in counts.items()
            if count or in_preview or name == "imported"
        ],
        "shown": shown,
        "meaning": MEANINGS[shown or ""],
        "search": search,
        "rows": page.rows,
        "pages": _pages(page, place, import_, show=shown, search=search or None),
        "codes": codes,
        "why": {row.key: _why(row) for row in page.rows},
        "to_choose": {row.key for row in page.rows if is_to_choose(row)},
        "unmapped": unmapped,
        "newly_mapped": sum(each.mapped_now for each in unmapped),
        "proposals": reports.proposals_of(db, scope, import_id=import_.id) if in_preview else 0,
        "here": request.full_path.rstrip("?")
        if request.method == "GET"
        else url_for("portal.project.one_import", import_id=import_.id),
    }


def _first(counts: Mapping[str, int]) -> str:
    """The part that the page opens with: what waits for a person, else what is or was imported."""
    return next((name for name in ("ambiguous", "imported", "matched") if counts.get(name)), "")


def _why(row: ImportRow) -> str:
    if row.left_out:
        return "Left out by name."
    said = RESULTS.get(row.result or "") if row.result != "imported" else None
    return said or REASONS.get(row.reason or "") or MATCHED_BY.get(row.matched_by or "") or ""


def _requested_place() -> Place:
    """Where the list begins: it is in the order of Stripe's ids."""
    for side in ("older_than", "newer_than"):
        key = request.args.get(side, "")
        if may_be_stripe_id(key):
            return Place(**{side: key})
    return NEWEST


def _pages(page: Page[Any], place: Place, import_: Import, **filters: Any) -> dict[str, str | None]:
    def address(neighbour: Place | None) -> str | None:
        if neighbour is None:
            return None
        keys: dict[str, Any] = {"older_than": neighbour.older_than, "newer_than": neighbour.newer_than}
        return url_for(
            "portal.project.one_import", import_id=import_.id, **filters, **keys, _anchor="purchases"
        )

    return {
        "previous": address(page.newer),
        "next": address(page.older),
        "first": None if place == NEWEST else address(NEWEST),
    }


def _unmapped(
    db: Session, side: Side, import_: Import, products: Sequence[Product]
) -> list[UnmappedImportPrice]:
    mapped = {price.stripe_price_id for each in products for price in each.prices}
    found = []
    for price_id, stripe_product_id, purchases in reports.unmapped_prices(
        db, side.scope, import_id=import_.id
    ):
        meant = {
            product.id: product
            for product in products
            for price in product.prices
            if price.stripe_product_id and price.stripe_product_id == stripe_product_id
        }
        product = next(iter(meant.values())) if len(meant) == 1 else None
        found.append(UnmappedImportPrice(price_id, purchases, None, product, price_id in mapped))
    return found


def _with_facts(side: Side, unmapped: Sequence[UnmappedImportPrice]) -> list[UnmappedImportPrice]:
    """The same with what Stripe says of the prices, where it answers."""
    parts = runtime()
    try:
        listed = prices_at_stripe(parts.database, parts.gateway, parts.secret_box, side.scope)
    except LicenzyError:
        return list(unmapped)
    facts = {price.id: price for price in listed}
    return [
        UnmappedImportPrice(
            each.price_id, each.purchases, facts.get(each.price_id), each.product, each.mapped_now
        )
        for each in unmapped
    ]


def _products(db: Session, side: Side) -> list[Product]:
    return [*catalog.products(db, side.scope), *catalog.archived_products(db, side.scope)]


def _earlier(db: Session, side: Side, import_: Import | None) -> dict[str, Any]:
    """The imports of this side but the one shown."""
    place = requested_place("imp")
    page = queries.imports_page(db, side.scope, place=place)
    others = [each for each in page.rows if import_ is None or each.id != import_.id]
    people = {each.started_by for each in others if each.started_by is not None}
    is_list = request.endpoint == "portal.project.imports"
    return {
        "earlier": others,
        "imported": reports.imported_of(db, side.scope, import_ids=[each.id for each in others]),
        "names": names_of(db, user_ids=people),
        "earlier_pages": adjacent_pages(page, place) if is_list else None,
        "may_start": side.may(Role.ADMIN) and queries.open_import(db, side.scope) is None,
    }
