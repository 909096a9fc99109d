"""Going live: checking live again, and copying the catalog of test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog.copying import CopyResult, copy_to_live
from licenzy.catalog.models import DEFAULT_LABEL, Kind, Product
from licenzy.errors import NotFound
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import flashed_refusals, go
from licenzy.portal.setup.forms import copy_form
from licenzy.portal.setup.go_live_context import to_copy
from licenzy.portal.setup.wizard import step_page
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.setup.stripe_probe import probe_side
from licenzy.workspace.models import Role


@project.post("/setup/go-live/check")
@project_page(Role.SUPPORT)
def check_live(side: Side) -> ResponseReturnValue:
    """Ask Stripe about live now, and show the checklist again."""
    if not side.mode.livemode:
        raise NotFound
    parts = runtime()
    with flashed_refusals():
        probe_side(parts.database, parts.gateway, parts.secret_box, side.scope, clock=parts.clock)
        flash("Live mode was checked with Stripe just now.", "success")
    return go(url_for("portal.project.setup_step", step=StepName.GO_LIVE.value))


@project.post("/setup/go-live/copy")
@project_page(Role.ADMIN)
def copy_catalog(side: Side) -> ResponseReturnValue:
    """Make products of test in live as well, each with the live price that was matched or picked."""
    if not side.mode.livemode:
        raise NotFound
    products = to_copy(side)
    form = copy_form(products)
    price_ids = {
        each.product_code: picked
        for each in products
        if (picked := {sold.label: form[sold.id].data for sold in each.selling_prices if form[sold.id].data})
    }
    free = [each.product_code for each in products if each.kind is Kind.FREE and form[each.id].data]
    if not price_ids and not free and _sent_before(products):
        return _copied_already()
    if not price_ids and not free:
        form.form_errors.append("Pick a live price for at least one product.")
        return _refused(side, form)
    parts = runtime()
    with form.refusals():
        copied = copy_to_live(
            parts.database,
            parts.gateway,
            parts.secret_box,
            project_id=side.project_id,
            price_ids=price_ids,
            free=free,
            actor=side.actor,
            now=parts.clock(),
        )
        return _copied(side, form, products, copied)
    return _refused(side, form)


def _copied(side: Side, form: Any, products: Sequence[Product], copied: CopyResult) -> ResponseReturnValue:
    """Say what was copied; where Stripe refused a product, the form again with the reason at it."""
    if copied.created:
        flash(f"Copied to live: {', '.join(copied.created)}.", "success")
    lacking = {product.product_code for product in to_copy(side)}
    # What another click copied in the same moment is there, and no problem.
    refused = {at: why for at, why in copied.refused.items() if at[0] in lacking}
    for (code, label), why in copied.refused.items():
        if code in copied.created:  # It is there by now: its other prices are added on its own page.
            flash(f"The price {label} of {code} was not copied. {why}", "error")
    if not refused and not copied.created:
        return _copied_already()
    if not refused:
        return go(url_for("portal.project.setup_step", step=StepName.GO_LIVE.value))
    for product in products:
        for sold in product.selling_prices:
            problem = refused.get((product.product_code, sold.label))
            form[sold.id].errors = [problem] if problem is not None else []
        if product.kind is Kind.FREE:
            problem = refused.get((product.product_code, DEFAULT_LABEL))
            form[product.id].errors = [problem] if problem is not None else []
    return _refused(side, form)


def _sent_before(products: Sequence[Product]) -> bool:
    """Whether prices were sent for products that live has by now, as by a second click."""
    offered = {price.id for product in products for price in product.selling_prices}
    offered |= {product.id for product in products}
    return any(
        value and name.startswith(("ppr_", "prd_")) and name not in offered
        for name, value in request.form.items()
    )


def _copied_already() -> ResponseReturnValue:
    flash("Live has these products already.", "success")
    return go(url_for("portal.project.setup_step", step=StepName.GO_LIVE.value))


def _refused(side: Side, form: object) -> ResponseReturnValue:
    return step_page(side, StepName.GO_LIVE, "setup/_catalog.html", status=422, copy_form=form)
