"""Products: mapping codes to prices picked from Stripe."""

from __future__ import annotations

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog import actions, queries
from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.holders import give_to_holders
from licenzy.entitlements.queries import was_granted
from licenzy.portal.blueprint import project
from licenzy.portal.forms import TypedForm
from licenzy.portal.guards import Side, project_page
from licenzy.portal.products.context import (
    change_rows,
    product_form_context,
    product_page_context,
    products_context,
)
from licenzy.portal.products.forms import ProductForm, described
from licenzy.portal.products.offer import offer_context
from licenzy.portal.products.terms import entitlements, holders_preview
from licenzy.portal.respond import flashed_refusals, go, show
from licenzy.portal.setup.wizard import WIZARD, finished_url, is_in_wizard, step_page
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role


@project.get("/products")
@project_page(Role.VIEWER)
def products(side: Side) -> ResponseReturnValue:
    """Everything sold on this side, and what no longer is."""
    return show("products/list.html", **products_context(side, {}))


@project.route("/products/new", methods=["GET", "POST"])
@project_page(Role.ADMIN)
def new_product(side: Side) -> ResponseReturnValue:
    """Map a new code to a price."""
    form = ProductForm(data={"price_id": request.args.get("price_id")})
    parts = runtime()
    if not form.is_submitted():
        return show("products/new.html", back="", **product_form_context(side, form))
    if form.only_picked:  # As a browser without scripts sends it: nothing is refused yet, but proposed.
        return _form_again(side, form, 200)
    if change_rows(side, form):
        return _form_again(side, form, 200)
    # The verb reads the picked price from Stripe again; the list is for choosing only.
    if form.validate():
        with form.refusals():
            product = actions.create_product(
                parts.database,
                parts.gateway,
                parts.secret_box,
                side.scope,
                draft=form.draft(),
                actor=side.actor,
                now=parts.clock(),
            )
            ready = "is saved" if product.kind is Kind.FREE else "is ready to be sold"
            flash(f"{product.product_code} {ready}.", "success")
            return go(finished_url(form, "portal.project.products"))
    return _form_again(side, form, 422)


@project.get("/products/new/proposal")
@project_page(Role.ADMIN)
def product_proposal(side: Side) -> ResponseReturnValue:
    """The form again, with the kind that fits the price just picked and a code made of its name."""
    form = ProductForm(formdata=request.args)
    form.kind.data = None
    context = product_form_context(side, form)
    back = WIZARD if is_in_wizard(form) else ""
    return show("products/new.html", "products/_form.html", back=back, **context)


@project.get("/products/new/offer")
@project_page(Role.ADMIN)
def new_offer(side: Side) -> ResponseReturnValue:
    """What a buyer of a new product gets, as its form describes it so far."""
    form = ProductForm(formdata=request.args)
    return show("products/_offer.html", **offer_context(side, form, current=None))


@project.get("/products/<id('prd'):product_id>/offer")
@project_page(Role.ADMIN)
def edited_offer(side: Side, product_id: str) -> ResponseReturnValue:
    """What a buyer of a product gets once its form is saved as it is so far."""
    product, form = _product(side, product_id), ProductForm(formdata=request.args)
    form.edit(product)
    return show("products/_offer.html", **offer_context(side, form, current=product))


@project.route("/products/<id('prd'):product_id>", methods=["GET", "POST"])
@project_page(Role.ADMIN)
def edit_product(side: Side, product_id: str) -> ResponseReturnValue:
    """Change what future purchases of a product get."""
    product = _product(side, product_id)
    form = ProductForm(data=described(product))
    parts = runtime()
    if not form.is_submitted():
        return show("products/edit.html", **product_page_context(side, product, form))
    form.edit(product)
    if change_rows(side, form):
        context = product_page_context(side, product, form)
        return show("products/edit.html", "products/_form.html", **context)
    if form.validate():
        with form.refusals():
            preview = holders_preview(side, product_id, form)
            if preview is not None and form.confirmed.data != preview.digest:
                context = product_page_context(side, product, form, preview=preview)
                return show("products/edit.html", "products/_form.html", **context)
            actions.edit_product(
                parts.database,
                parts.gateway,
                parts.secret_box,
                side.scope,
                product_id=product_id,
                draft=form.draft(),
                was_granted=was_granted,
                give_to_holders=give_to_holders if preview is not None else None,
                actor=side.actor,
                now=parts.clock(),
            )
            if preview is not None:
                flash(
                    f"{product.product_code} is saved. {entitlements(preview.count)} will change.", "success"
                )
                return go(url_for("portal.project.edit_product", product_id=product_id, _anchor="terms"))
            kept = (
                "What was granted before stays as it was granted."
                if product.kind is Kind.FREE
                else "What was sold before stays as it was sold."
            )
            flash(f"{product.product_code} is saved. {kept}", "success")
            return go(url_for("portal.project.products"))
    context = product_page_context(side, product, form)
    return show("products/edit.html", "products/_form.html", status=422, **context)


@project.post("/products/<id('prd'):product_id>/archival")
@project_page(Role.ADMIN)
def archive_product(side: Side, product_id: str) -> ResponseReturnValue:
    """Stop selling a product; in live its code must be typed."""
    product = _product(side, product_id)
    problem = TypedForm().problem(side.mode, product.product_code, "the product’s code")
    if problem is not None:
        context = product_page_context(side, product, typed_error=problem)
        return show("products/edit.html", status=422, **context)
    with runtime().database.write() as db:
        actions.archive_product(
            db, side.scope, product_id=product_id, actor=side.actor, now=runtime().clock()
        )
    flash(f"{product.product_code} is archived. Who bought it keeps what was bought.", "success")
    return go(url_for("portal.project.products"))


@project.post("/products/<id('prd'):product_id>/restoration")
@project_page(Role.ADMIN)
def restore_product(side: Side, product_id: str) -> ResponseReturnValue:
    """Sell an archived product again."""
    _product(side, product_id)  # Raises where there is none.
    with flashed_refusals(), runtime().database.write() as db:
        product = actions.restore_product(
            db, side.scope, product_id=product_id, actor=side.actor, now=runtime().clock()
        )
        flash(f"{product.product_code} is sold again.", "success")
    return go(url_for("portal.project.products"))


def _form_again(side: Side, form: ProductForm, status: int) -> ResponseReturnValue:
    """The form of a new product, on its page or in the step of the wizard."""
    context = product_form_context(side, form)
    if is_in_wizard(form):
        return step_page(side, StepName.PRODUCTS, "products/_form.html", status=status, **context)
    return show("products/new.html", "products/_form.html", status=status, back="", **context)


def _product(side: Side, product_id: str) -> Product:
    with runtime().database.read() as db:
        return queries.product(db, side.scope, product_id=product_id)
