"""What the pages of products show, as template context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import request

from licenzy.alignment.findings import Part
from licenzy.catalog import queries as catalog
from licenzy.catalog import rules as catalog_rules
from licenzy.catalog.models import Kind, Product, ProductTerms
from licenzy.catalog.prices import prices_at_stripe
from licenzy.catalog.term_differences import TermDifference, term_differences
from licenzy.entitlements.holder_preview import HolderPreview
from licenzy.entitlements.holders import changes_of
from licenzy.entitlements.models import TermChange
from licenzy.entitlements.queries import was_granted
from licenzy.errors import LicenzyError
from licenzy.portal.alignment.findings import side_findings
from licenzy.portal.guards import Side
from licenzy.portal.products.forms import PriceForm, ProductForm, described
from licenzy.portal.products.included import fitting_proposals
from licenzy.portal.products.new_price_form import NewPriceForm, new_price_form
from licenzy.portal.products.offer import offer_context, stored_offer
from licenzy.projects.queries import mode_settings
from licenzy.runtime import runtime
from licenzy.stripe_gateway.client import PriceFacts
from licenzy.usage.units import units_sold


def products_context(side: Side, overrides: dict[str, Any]) -> dict[str, Any]:
    """The products of this side, and which of them share a price."""
    with runtime().database.read() as db:
        listed = catalog.products(db, side.scope)
        archived = catalog.archived_products(db, side.scope)
    return {
        "products": listed,
        "archived": archived,
        "shared_prices": catalog_rules.shared_prices(listed),
        "findings": [
            *side_findings(side, Part.PRODUCTS, Part.PRICES),
            # The first trial on sale needs one more type of event.
            *(each for each in side_findings(side, Part.ENDPOINT) if each.code == "endpoint_lacks_events"),
        ],
        **overrides,
    }


def product_form_context(
    side: Side,
    form: ProductForm,
    *,
    current: Product | None = None,
    new_price: NewPriceForm | None = None,
) -> dict[str, Any]:
    """The form of a product with the prices that Stripe lists now, or why there are none.

    `new_price` is the form that creates one in the sandbox, where it was sent.
    """
    prices, problem = (
        ([], None) if current is not None and current.kind is Kind.FREE else offered_prices(side)
    )
    form.offer(prices, current=current)
    picked = next((price for price in prices if price.id == form.price_id.data), None)
    if form.kind.data is None and picked is not None:
        form.kind.data = catalog_rules.proposed_kind(recurring=picked.recurring).value
        _propose_code(side, form, picked, prices)
    offer = offer_context(side, form, current=current, picked=picked)
    return {
        **offer,
        "proposals": fitting_proposals(offer["offer_prices"], is_sold=form.kind.data != Kind.FREE),
        "known_units": _known_units(side),
        "form": form,
        "prices": prices,
        "new_price": new_price or new_price_form(side, current),
        "picked": picked,
        "prices_problem": problem,
        "product": current,
        "unit_is_fixed": current is not None and _unit_is_fixed(side, current),
        "preview": None,
    }


def change_rows(side: Side, form: ProductForm) -> bool:
    """Add or remove a row of included units, where a button for that was pressed."""
    act = form.included_act.data
    if not act:
        return False
    with runtime().database.read() as db:
        default_unit = mode_settings(db, side.scope).default_unit
    form.included.change(act, default_unit=default_unit)
    return True


def _known_units(side: Side) -> list[str]:
    with runtime().database.read() as db:
        return units_sold(db, side.scope)


def _unit_is_fixed(side: Side, product: Product) -> bool:
    """Whether customers have a usage pack, so that its unit stays."""
    if product.kind is not Kind.USAGE_PACK:
        return False
    with runtime().database.read() as db:
        return was_granted(db, side.scope, product.product_code)


def product_page_context(
    side: Side,
    product: Product,
    form: ProductForm | None = None,
    price_form: PriceForm | None = None,
    typed_error: str | None = None,
    preview: HolderPreview | None = None,
    new_price: NewPriceForm | None = None,
) -> dict[str, Any]:
    """The page of one product: its form, its prices and terms, and the form that adds a price.

    With a `preview` the form shows it, and asks to confirm it.
    """
    context = product_form_context(
        side,
        form or ProductForm(formdata=None, data=described(product)),
        current=product,
        new_price=new_price,
    )
    with runtime().database.read() as db:
        searches = catalog.backfills(db, side.scope, product_id=product.id)
    return {
        **context,
        **terms_context(side, product),
        "preview": preview,
        "price_form": price_form or _another_price(product, context["prices"]),
        "searches": searches,
        "stored_offer": stored_offer(product),
        "typed_error": typed_error,
        "back": "",
    }


def terms_context(side: Side, product: Product) -> dict[str, Any]:
    """The versions of a product's terms, the newest first, and which of them is being given to holders."""
    with runtime().database.read() as db:
        versions = catalog.versions_of(db, side.scope, product_id=product.id)
        changes = changes_of(db, side.scope, product_id=product.id)
        # A free product is not sold: nobody has one that was never granted manually.
        can_be_given = product.kind is not Kind.FREE or was_granted(db, side.scope, product.product_code)
    return {
        "versions": list(_versions(versions, changes)),
        "running_change": next((change for change in changes if change.ended_at is None), None),
        "can_be_given": can_be_given,
    }


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a product's terms, as its page lists it."""

    number: int
    since: datetime
    differences: Sequence[TermDifference]
    """From the version before; for the first one, none."""
    given: Sequence[TermChange]
    """When it was given to holders, the newest first."""


def _versions(versions: Sequence[ProductTerms], changes: Sequence[TermChange]) -> Iterator[Version]:
    for before, each in reversed(list(zip([None, *versions], versions, strict=False))):
        differences = term_differences(before.terms, each.terms) if before is not None else []
        given = [change for change in changes if change.version == each.version]
        yield Version(each.version, each.from_, differences, given)


def _another_price(product: Product, prices: Sequence[PriceFacts]) -> PriceForm:
    """The form that adds a price, with the one that the address names and a label that is free."""
    wanted = request.args.get("add", "")
    picked = next((price for price in prices if price.id == wanted), None)
    taken = {price.label for price in product.selling_prices}
    label = catalog_rules.proposed_label(taken, picked.interval if picked is not None else None)
    return PriceForm(formdata=None, data={"price_id": wanted, "price_label": label})


def _propose_code(side: Side, form: ProductForm, picked: PriceFacts, prices: Sequence[PriceFacts]) -> None:
    """Fill in the code from the price's name, unless somebody wrote another one there."""
    with runtime().database.read() as db:
        taken = {
            product.product_code
            for listed in (catalog.products, catalog.archived_products)
            for product in listed(db, side.scope)
        }
    written = (form.product_code.data or "").strip()
    if not written or written in {catalog_rules.proposed_code(_name(price), taken) for price in prices}:
        form.product_code.data = catalog_rules.proposed_code(_name(picked), taken)


def _name(price: PriceFacts) -> str:
    return f"{price.product_name} {price.nickname}" if price.nickname else price.product_name


def offered_prices(side: Side) -> tuple[Sequence[PriceFacts], LicenzyError | None]:
    """The prices that Stripe lists now, or why there are none."""
    parts = runtime()
    try:
        return prices_at_stripe(parts.database, parts.gateway, parts.secret_box, side.scope), None
    except LicenzyError as problem:
        return [], problem
