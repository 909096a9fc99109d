"""Products: mapping codes to prices picked from Stripe."""

from __future__ import annotations

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog import actions, queries
from licenzy.catalog.models import Product
from licenzy.errors import LicenzyError
from licenzy.portal.blueprint import portal
from licenzy.portal.forms.product import ProductForm, described
from licenzy.portal.forms.typed import TypedForm
from licenzy.portal.guards import Side, project_page
from licenzy.portal.panels import (
    WIZARD,
    product_form_panel,
    products_panel,
    stands_in_wizard,
    step_page,
    way_on,
)
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role

_SIDE = "/projects/<project_id>/<mode:mode>"


@portal.get(f"{_SIDE}/products")
@project_page(Role.VIEWER)
def products(side: Side) -> ResponseReturnValue:
    """Everything sold on this side, and what no longer is."""
    return show("products/list.html", **products_panel(side, {}))


@portal.route(f"{_SIDE}/products/new", methods=["GET", "POST"])
@project_page(Role.ADMIN)
def product_new(side: Side) -> ResponseReturnValue:
    """Map a new code to a price."""
    form = ProductForm()
    parts = runtime()
    if not form.is_submitted():
        return show("products/new.html", back="", **product_form_panel(side, form))
    # The verb reads the picked price from Stripe again; the list is for choosing only.
    if form.validate():
        try:
            product = actions.create_product(
                parts.database,
                parts.gateway,
                parts.secret_box,
                side.scope,
                draft=form.draft(),
                actor=side.actor,
                now=parts.clock(),
            )
        except LicenzyError as error:
            form.refuse(error)
        else:
            flash(f"{product.product_code} is ready to be sold.", "success")
            return go(way_on(form, "portal.products", StepName.PRODUCTS))
    panel = product_form_panel(side, form)
    if stands_in_wizard(form):
        return step_page(side, StepName.PRODUCTS, "products/_form.html", status=422, **panel)
    return show("products/new.html", "products/_form.html", status=422, back="", **panel)


@portal.get(f"{_SIDE}/products/new/proposal")
@project_page(Role.ADMIN)
def product_proposal(side: Side) -> ResponseReturnValue:
    """The form again, with the kind that fits the price just picked."""
    form = ProductForm(formdata=request.args)
    form.kind.data = None
    panel = product_form_panel(side, form)
    back = WIZARD if stands_in_wizard(form) else ""
    return show("products/new.html", "products/_form.html", back=back, **panel)


@portal.route(f"{_SIDE}/products/<product_id>", methods=["GET", "POST"])
@project_page(Role.ADMIN)
def product_edit(side: Side, product_id: str) -> ResponseReturnValue:
    """Change what future purchases of a product get."""
    product = _product(side, product_id)
    form = ProductForm(data=described(product))
    parts = runtime()
    if not form.is_submitted():
        return show(
            "products/edit.html", typed_error=None, back="", **product_form_panel(side, form, kept=product)
        )
    form.kind.data, form.product_code.data = product.kind.value, product.product_code
    if form.validate():
        try:
            actions.edit_product(
                parts.database,
                parts.gateway,
                parts.secret_box,
                side.scope,
                product_id=product_id,
                draft=form.draft(),
                actor=side.actor,
                now=parts.clock(),
            )
        except LicenzyError as error:
            form.refuse(error)
        else:
            flash(f"{product.product_code} is saved. What was sold before stays as it was sold.", "success")
            return go(url_for("portal.products"))
    panel = product_form_panel(side, form, kept=product)
    return show("products/edit.html", "products/_form.html", status=422, typed_error=None, back="", **panel)


@portal.post(f"{_SIDE}/products/<product_id>/price")
@project_page(Role.ADMIN)
def refresh_price(side: Side, product_id: str) -> ResponseReturnValue:
    """Read a product's price from Stripe again."""
    parts = runtime()
    try:
        product = actions.refresh_price(
            parts.database,
            parts.gateway,
            parts.secret_box,
            side.scope,
            product_id=product_id,
            now=parts.clock(),
        )
    except LicenzyError as error:
        if error.status == 404:
            raise
        flash(error.message, "error")
    else:
        flash(f"The price of {product.product_code} is read from Stripe again.", "success")
    return go(url_for("portal.products"))


@portal.post(f"{_SIDE}/products/<product_id>/archival")
@project_page(Role.ADMIN)
def archive_product(side: Side, product_id: str) -> ResponseReturnValue:
    """Stop selling a product; in live its code must be typed."""
    product = _product(side, product_id)
    problem = TypedForm().problem(side.mode, product.product_code, "the product’s code")
    if problem is not None:
        form = ProductForm(formdata=None, data=described(product))
        panel = product_form_panel(side, form, kept=product)
        return show("products/edit.html", status=422, typed_error=problem, back="", **panel)
    with runtime().database.write() as db:
        actions.archive_product(
            db, side.scope, product_id=product_id, actor=side.actor, now=runtime().clock()
        )
    flash(f"{product.product_code} is archived. Who bought it keeps what was bought.", "success")
    return go(url_for("portal.products"))


@portal.post(f"{_SIDE}/products/<product_id>/restoration")
@project_page(Role.ADMIN)
def restore_product(side: Side, product_id: str) -> ResponseReturnValue:
    """Sell an archived product again."""
    with runtime().database.write() as db:
        product = actions.restore_product(
            db, side.scope, product_id=product_id, actor=side.actor, now=runtime().clock()
        )
    flash(f"{product.product_code} is sold again.", "success")
    return go(url_for("portal.products"))


def _product(side: Side, product_id: str) -> Product:
    with runtime().database.read() as db:
        return queries.product(db, side.scope, product_id=product_id)
