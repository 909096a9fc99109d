"""Creating a price in the sandbox: for a new product, or as one more price of a product."""

from __future__ import annotations

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog import queries
from licenzy.catalog.models import Product
from licenzy.catalog.new_prices import price_text
from licenzy.catalog.prices import add_price
from licenzy.catalog.sandbox_prices import create_sandbox_price
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.products.context import product_form_context, product_page_context
from licenzy.portal.products.forms import ProductForm
from licenzy.portal.products.new_price_form import NewPriceForm
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.stripe_gateway.client import PriceFacts
from licenzy.workspace.models import Role


@project.post("/products/prices")
@project_page(Role.ADMIN)
def create_first_price(side: Side) -> ResponseReturnValue:
    """Create a price in the sandbox, and go on with the product that is sold at it."""
    form = NewPriceForm().of(None)
    if form.validate():
        with form.refusals():
            made = _create(side, form, None)
            flash(
                f"{made.product_name}, {price_text(form.new_price())}, is created in the sandbox.", "success"
            )
            return go(url_for("portal.project.new_product", price_id=made.id))
    context = product_form_context(side, ProductForm(formdata=None), new_price=form)
    return show("products/new.html", "products/_new_price.html", status=form.http_status, back="", **context)


@project.post("/products/<id('prd'):product_id>/prices/new")
@project_page(Role.ADMIN)
def create_another_price(side: Side, product_id: str) -> ResponseReturnValue:
    """Create a price in the sandbox, and sell the product at it too."""
    parts = runtime()
    with parts.database.read() as db:
        product = queries.product(db, side.scope, product_id=product_id)
    form = NewPriceForm().of(product)
    if form.validate():
        with form.refusals():
            made = _create(side, form, product)
            add_price(
                parts.database,
                parts.gateway,
                parts.secret_box,
                side.scope,
                product_id=product_id,
                price_id=made.id,
                label=form.label,
                actor=side.actor,
                now=parts.clock(),
            )
            text = price_text(form.new_price())
            flash(f"{product.product_code} is sold at {text} as {form.label}.", "success")
            return go(url_for("portal.project.edit_product", product_id=product_id))
    context = product_page_context(side, product, new_price=form)
    return show("products/edit.html", "products/_new_price.html", status=form.http_status, **context)


def _create(side: Side, form: NewPriceForm, product: Product | None) -> PriceFacts:
    parts = runtime()
    return create_sandbox_price(
        parts.database,
        parts.gateway,
        parts.secret_box,
        side.scope,
        new=form.new_price(),
        name=form.name.data.strip() if product is None else "",
        product=product,
        submission_id=form.submission_id.data or "",
        actor=side.actor,
        now=parts.clock(),
    )
