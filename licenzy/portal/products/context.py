"""What the pages of products show, as template context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from licenzy.alignment.findings import Part
from licenzy.catalog import queries as catalog
from licenzy.catalog import rules as catalog_rules
from licenzy.catalog.actions import prices_at_stripe
from licenzy.catalog.models import Product
from licenzy.errors import LicenzyError
from licenzy.portal.alignment.findings import side_findings
from licenzy.portal.guards import Side
from licenzy.portal.products.forms import ProductForm
from licenzy.runtime import runtime
from licenzy.stripe_gateway.client import PriceFacts


def products_context(side: Side, overrides: dict[str, Any]) -> dict[str, Any]:
    """The products of this side, and which of them share a price."""
    with runtime().database.read() as db:
        listed = catalog.products(db, side.scope)
        archived = catalog.archived_products(db, side.scope)
    return {
        "products": listed,
        "archived": archived,
        "shared_prices": catalog_rules.shared_prices(listed),
        "findings": side_findings(side, Part.PRODUCTS, Part.PRICES),
        **overrides,
    }


def product_form_context(side: Side, form: ProductForm, *, current: Product | None = None) -> dict[str, Any]:
    """The form of a product with the prices that Stripe lists now, or why there are none."""
    prices, problem = offered_prices(side)
    form.offer(prices, current=current)
    picked = next((price for price in prices if price.id == form.price_id.data), None)
    if form.kind.data is None and picked is not None:
        form.kind.data = catalog_rules.proposed_kind(recurring=picked.recurring).value
        _propose_code(side, form, picked, prices)
    return {"form": form, "prices": prices, "picked": picked, "prices_problem": problem, "product": current}


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
