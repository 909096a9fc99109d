"""The prices of a product: adding, labelling, retiring and removing them."""

from __future__ import annotations

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog import prices, queries
from licenzy.catalog.models import Product
from licenzy.portal.blueprint import project
from licenzy.portal.forms import TypedForm
from licenzy.portal.guards import Side, project_page
from licenzy.portal.products.context import product_page_context
from licenzy.portal.products.forms import LabelForm, PriceForm
from licenzy.portal.respond import flashed_refusals, go, show, wants_fragment
from licenzy.runtime import runtime
from licenzy.stripe_events.mapped_prices import remove_price
from licenzy.workspace.models import Role


@project.post("/products/<id('prd'):product_id>/prices")
@project_page(Role.ADMIN)
def add_price(side: Side, product_id: str) -> ResponseReturnValue:
    """Sell a product at another price, or at one that was retired."""
    product, form = _product(side, product_id), PriceForm()
    parts = runtime()
    if form.validate():
        with form.refusals():
            prices.add_price(
                parts.database,
                parts.gateway,
                parts.secret_box,
                side.scope,
                product_id=product_id,
                price_id=(form.price_id.data or "").strip(),
                label=(form.price_label.data or "").strip(),
                actor=side.actor,
                now=parts.clock(),
            )
            flash(f"{product.product_code} is sold at this price as {form.price_label.data}.", "success")
            return _to_product(product_id)
    context = product_page_context(side, product, price_form=form)
    return show("products/edit.html", "products/_add_price.html", status=422, **context)


@project.post("/products/<id('prd'):product_id>/prices/refresh")
@project_page(Role.ADMIN)
def refresh_prices(side: Side, product_id: str) -> ResponseReturnValue:
    """Read the prices of a product from Stripe again."""
    parts = runtime()
    _product(side, product_id)  # Raises where there is none.
    with flashed_refusals():
        product = prices.refresh_prices(
            parts.database,
            parts.gateway,
            parts.secret_box,
            side.scope,
            product_id=product_id,
            now=parts.clock(),
        )
        flash(f"The prices of {product.product_code} were read from Stripe again.", "success")
    return _to_product(product_id)


@project.post("/products/<id('prd'):product_id>/prices/<id('ppr'):price_id>/label")
@project_page(Role.ADMIN)
def label_price(side: Side, product_id: str, price_id: str) -> ResponseReturnValue:
    """Give a price another label."""
    queries.price_of(_product(side, product_id), price_id=price_id)  # Raises where there is none.
    label = (LabelForm().price_label.data or "").strip()
    with flashed_refusals(), runtime().database.write() as db:
        price = prices.label_price(
            db,
            side.scope,
            product_id=product_id,
            price_id=price_id,
            label=label,
            actor=side.actor,
            now=runtime().clock(),
        )
        flash(f"The price {price.stripe_price_id} is labelled {price.label}.", "success")
    return _to_product(product_id)


@project.post("/products/<id('prd'):product_id>/prices/<id('ppr'):price_id>/retirement")
@project_page(Role.ADMIN)
def retire_price(side: Side, product_id: str, price_id: str) -> ResponseReturnValue:
    """Stop selling at a price; in live its label must be typed."""
    if not _was_typed(side, product_id, price_id):
        return _to_product(product_id)
    with runtime().database.write() as db:
        price = prices.retire_price(
            db,
            side.scope,
            product_id=product_id,
            price_id=price_id,
            actor=side.actor,
            now=runtime().clock(),
        )
    flash(f"The price {price.label} is retired. Customers who have it keep the product.", "success")
    return _to_product(product_id)


@project.post("/products/<id('prd'):product_id>/prices/<id('ppr'):price_id>/removal")
@project_page(Role.ADMIN)
def remove_mapped_price(side: Side, product_id: str, price_id: str) -> ResponseReturnValue:
    """Remove the mapping of a price that no subscription has; in live its label must be typed."""
    if not _was_typed(side, product_id, price_id):
        return _to_product(product_id)
    with flashed_refusals(), runtime().database.write() as db:
        price = remove_price(
            db,
            side.scope,
            product_id=product_id,
            price_id=price_id,
            actor=side.actor,
            now=runtime().clock(),
        )
        flash(f"The price {price.stripe_price_id} is removed.", "success")
    return _to_product(product_id)


@project.get("/products/<id('prd'):product_id>/prices/search")
@project_page(Role.ADMIN)
def price_search(side: Side, product_id: str) -> ResponseReturnValue:
    """How far the search for subscriptions that hold newly mapped prices is."""
    product = _product(side, product_id)
    with runtime().database.read() as db:
        searches = queries.backfills(db, side.scope, product_id=product_id)
    if not wants_fragment():
        return _to_product(product_id)
    over = all(search.finished_at is not None for search in searches)
    return show("products/_search.html", status=286 if over else 200, product=product, searches=searches)


def _was_typed(side: Side, product_id: str, price_id: str) -> bool:
    """Whether the price's label was typed where it must be; otherwise that is flashed."""
    price = queries.price_of(_product(side, product_id), price_id=price_id)
    problem = TypedForm().problem(side.mode, price.label, "the price’s label")
    if problem is not None:
        flash(problem, "error")
    return problem is None


def _product(side: Side, product_id: str) -> Product:
    with runtime().database.read() as db:
        return queries.product(db, side.scope, product_id=product_id)


def _to_product(product_id: str) -> ResponseReturnValue:
    return go(url_for("portal.project.edit_product", product_id=product_id))
