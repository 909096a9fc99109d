"""The terms of a product: their versions, and giving one of them to those who have the product."""

from __future__ import annotations

from typing import Any

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog import queries
from licenzy.catalog.models import Product
from licenzy.entitlements import holders
from licenzy.entitlements.holder_preview import HolderPreview, preview_edit, preview_version
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.products.context import terms_context
from licenzy.portal.products.forms import ProductForm
from licenzy.portal.respond import go, show, wants_fragment
from licenzy.runtime import runtime
from licenzy.workspace.models import Role


@project.get("/products/<id('prd'):product_id>/terms/<int:version>/holders")
@project_page(Role.ADMIN)
def holders_of_terms(side: Side, product_id: str, version: int) -> ResponseReturnValue:
    """What giving a version of the terms to all who have the product would change."""
    product = _product(side, product_id)
    with runtime().database.read() as db:
        preview = preview_version(
            db, side.scope, product_id=product_id, version=version, now=runtime().clock()
        )
    return show("products/give_terms.html", product=product, preview=preview)


@project.post("/products/<id('prd'):product_id>/terms/<int:version>/holders")
@project_page(Role.ADMIN)
def give_terms(side: Side, product_id: str, version: int) -> ResponseReturnValue:
    """Have the worker give a version of the terms to all who have the product."""
    product = _product(side, product_id)
    about: dict[str, Any] = {"product_id": product_id, "actor": side.actor, "now": runtime().clock()}
    # The worker may be writing the row of what is being given now.
    runtime().database.retrying(lambda db: holders.give_to_holders(db, side.scope, version=version, **about))
    flash(f"All customers who have {product.product_code} are being given version {version}.", "success")
    return _to_terms(product_id)


@project.post("/products/<id('prd'):product_id>/terms/changes/<id('tch'):change_id>/cancellation")
@project_page(Role.ADMIN)
def stop_terms(side: Side, product_id: str, change_id: str) -> ResponseReturnValue:
    """Stop giving terms; who was given them keeps them."""
    about: dict[str, Any] = {"product_id": product_id, "actor": side.actor, "now": runtime().clock()}
    change = runtime().database.retrying(
        lambda db: holders.stop_change(db, side.scope, change_id=change_id, **about)
    )
    flash(f"Stopped. {entitlements(change.changed)} changed and keep version {change.version}.", "success")
    return _to_terms(product_id)


@project.get("/products/<id('prd'):product_id>/terms/progress")
@project_page(Role.ADMIN)
def terms_progress(side: Side, product_id: str) -> ResponseReturnValue:
    """How far the worker is with giving terms to those who have the product."""
    product = _product(side, product_id)
    if not wants_fragment():
        return _to_terms(product_id)
    context = terms_context(side, product)
    status = 200 if context["running_change"] is not None else 286
    return show("products/_terms.html", status=status, product=product, **context)


def holders_preview(side: Side, product_id: str, form: ProductForm) -> HolderPreview | None:
    """What an edit would change for those who have the product; none where nobody's terms change.

    Raises ProductRefused.
    """
    if not form.is_for_holders:
        return None
    with runtime().database.read() as db:
        preview = preview_edit(
            db, side.scope, product_id=product_id, draft=form.draft(), now=runtime().clock()
        )
    return preview if preview.count else None


def entitlements(count: int) -> str:
    """So many entitlements, in words."""
    return f"{count:,} entitlement{'' if count == 1 else 's'}"


def _product(side: Side, product_id: str) -> Product:
    with runtime().database.read() as db:
        return queries.product(db, side.scope, product_id=product_id)


def _to_terms(product_id: str) -> ResponseReturnValue:
    return go(url_for("portal.project.edit_product", product_id=product_id, _anchor="terms"))
