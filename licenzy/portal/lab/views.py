"""The lifecycle lab: press what happens in Stripe, and see what becomes of the entitlement and the check."""

from __future__ import annotations

from dataclasses import dataclass

from flask import abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog import queries as catalog
from licenzy.catalog.models import Kind
from licenzy.connections.queries import connection_of
from licenzy.errors import LicenzyError, NotFound
from licenzy.lab.access_timeline import access_timeline
from licenzy.lab.actions import (
    Lab,
    console_address,
    follow_clocks,
    jump_words,
    let_happen,
    plan_words,
    possibilities,
)
from licenzy.lab.queries import Bench, bench, purchases, sandbox_connection
from licenzy.lab.scenarios import CHANGE_PLAN, GROUPS, SCENARIOS, SEND_AGAIN, Scenario
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lab.forms import LabForm
from licenzy.portal.respond import go, show, wants_fragment
from licenzy.portal.setup.forms import PurchaseForm
from licenzy.portal.setup.views import sell
from licenzy.runtime import runtime
from licenzy.stripe_gateway.sandbox_control import SandboxPurchase
from licenzy.workspace.models import Role


@dataclass(frozen=True, slots=True)
class LabButton:
    """A happening as it can be pressed now, or why it cannot."""

    value: str
    scenario: Scenario
    label: str
    reason: str | None
    description: str


@dataclass(frozen=True, slots=True)
class LabButtonGroup:
    """A group of buttons; `reason` is said once when none of them can be pressed for the same reason."""

    name: str
    title: str
    buttons: list[LabButton]
    reason: str | None


@project.get("/lab")
@project_page(Role.VIEWER)
def lab(side: Side) -> ResponseReturnValue:
    """Where a purchase to play with is picked or made; without a sandbox, why there is none."""
    proposed = {
        "subject_ref": request.args.get("subject_ref", "user_lab_1"),
        "product_code": request.args.get("product_code"),
    }
    return _entrance(side, PurchaseForm(formdata=None, data=proposed))


@project.post("/lab/purchases")
@project_page(Role.ADMIN)
def start_lab(side: Side) -> ResponseReturnValue:
    """Open a checkout to play with, by the verb that the API has."""
    form = PurchaseForm()
    _offer_products(side, form)
    with runtime().database.read() as db:
        at_sandbox = sandbox_connection(db, side.scope) is not None
    if at_sandbox and form.validate():
        with form.refusals():
            return go(url_for("portal.project.lab_purchase", attempt_id=sell(side, form)))
    return _entrance(side, form, "lab/_start_form.html", status=422)


@project.get("/lab/console")
@project_page(Role.ADMIN)
def sandbox_console(side: Side) -> ResponseReturnValue:
    """Lead to the sandbox's console by a link made for this visit."""
    try:
        return redirect(console_address(_parts(), side.scope), 303)
    except NotFound:
        abort(404)
    except LicenzyError as error:
        flash(f"{error.message} {error.hint}", "error")
        return go(url_for("portal.project.lab"))


@project.get("/lab/<id('att'):attempt_id>")
@project_page(Role.VIEWER)
def lab_purchase(side: Side, attempt_id: str) -> ResponseReturnValue:
    """One purchase: what may happen to it, what did, and what that means for access."""
    return _bench_page(side, attempt_id, LabForm(formdata=None))


@project.post("/lab/<id('att'):attempt_id>/steps")
@project_page(Role.ADMIN)
def lab_step(side: Side, attempt_id: str) -> ResponseReturnValue:
    """Let one thing happen at the sandbox."""
    form = LabForm()
    action, _, name = (form.action.data or "").partition(":")
    try:
        let_happen(
            _parts(),
            side.scope,
            attempt_id=attempt_id,
            action=action,
            delivery=form.delivery.data or "in_order",
            price=name or None,
            unit=name or None,
            units=form.units.data,
        )
    except NotFound:
        abort(404)
    except LicenzyError as error:
        return _bench_page(side, attempt_id, form, "lab/_bench.html", status=422, problem=error)
    if wants_fragment():
        return _bench_page(side, attempt_id, form, "lab/_bench.html")
    return go(url_for("portal.project.lab_purchase", attempt_id=attempt_id))


@project.get("/lab/<id('att'):attempt_id>/live")
@project_page(Role.VIEWER)
def lab_live(side: Side, attempt_id: str) -> ResponseReturnValue:
    """What the last step has done so far; asked again and again until it has done all it does.

    The buttons wait for the events, not for what is read from Stripe afterwards: they come along once.
    """
    found = _bench(side, attempt_id)
    new_facts = request.args.get("buttons") == "off" and not found.waiting
    if found.moving and not new_facts and wants_fragment():
        return show(
            "lab/_live.html", bench=found, timeline=access_timeline(found.steps, found.current), swapped=False
        )
    status = 200 if found.moving else 286
    return _bench_page(
        side, attempt_id, LabForm(formdata=None), "lab/_live.html", status=status, swapped=True
    )


def _entrance(
    side: Side, form: PurchaseForm, fragment: str | None = None, *, status: int = 200
) -> ResponseReturnValue:
    offered = _offer_products(side, form)
    with runtime().database.read() as db:
        connection = sandbox_connection(db, side.scope)
        other = connection_of(db, side.scope)
        started = purchases(db, side.scope, connection_id=connection.id) if connection else []
    return show(
        "lab/page.html",
        fragment,
        status=status,
        connection=connection,
        side_connected=other is not None and other.key_sealed is not None,
        sandbox_on=runtime().settings.sandbox,
        purchases=started,
        products=offered,
        form=form,
    )


def _offer_products(side: Side, form: PurchaseForm) -> list[str]:
    with runtime().database.read() as db:
        listed = catalog.products(db, side.scope)
    # A subscription has the longest life, so it is offered first.
    sold = [product for product in listed if product.kind is not Kind.FREE]
    codes = [p.product_code for p in sorted(sold, key=lambda p: p.kind is not Kind.SUBSCRIPTION)]
    form.offer(codes)
    return codes


def _bench_page(
    side: Side,
    attempt_id: str,
    form: LabForm,
    fragment: str | None = None,
    *,
    status: int = 200,
    problem: LicenzyError | None = None,
    swapped: bool = False,
) -> ResponseReturnValue:
    found = _bench(side, attempt_id)
    purchase = None
    try:
        purchase = possibilities(_parts(), side.scope, attempt_id=attempt_id)
    except LicenzyError as error:
        problem = problem or error
    return show(
        "lab/bench.html",
        fragment,
        status=status,
        bench=found,
        timeline=access_timeline(found.steps, found.current),
        groups=_groups(found, purchase) if purchase else [],
        checkout_url=purchase.url if purchase else None,
        form=form,
        problem=problem,
        swapped=swapped and wants_fragment(),
    )


def _bench(side: Side, attempt_id: str) -> Bench:
    follow_clocks(_parts(), side.scope)
    try:
        with runtime().database.read() as db:
            return bench(db, side.scope, attempt_id=attempt_id, now=runtime().clock())
    except NotFound:
        abort(404)


def _groups(found: Bench, purchase: SandboxPurchase) -> list[LabButtonGroup]:
    groups = []
    for group in GROUPS:
        buttons = [_button(scenario, found, purchase) for scenario in group.scenarios]
        if group.name == "renewing":
            buttons += _plans(purchase)
        reasons = {button.reason for button in buttons}
        if group.passing and None not in reasons:
            continue
        groups.append(
            LabButtonGroup(group.name, group.title, buttons, reasons.pop() if len(reasons) == 1 else None)
        )
    return groups


def _button(scenario: Scenario, found: Bench, purchase: SandboxPurchase) -> LabButton:
    offer = purchase.offers.get(scenario.name)
    reason = offer.reason if offer else None
    if scenario.name == SEND_AGAIN and not (found.steps and found.steps[0].repeatable):
        reason = "The last step sent nothing that could be repeated."
    description = jump_words(purchase, scenario.name) or scenario.description
    return LabButton(scenario.name, scenario, scenario.label, reason, description)


def _plans(purchase: SandboxPurchase) -> list[LabButton]:
    """A button for each plan; one that says why not when there is none to change to."""
    scenario, reason = SCENARIOS[CHANGE_PLAN], purchase.offers[CHANGE_PLAN].reason
    if reason is None and not purchase.plans:
        reason = "There is no other recurring price to change to."
    if reason is not None:
        return [LabButton(CHANGE_PLAN, scenario, scenario.label, reason, scenario.description)]
    return [
        LabButton(
            f"{CHANGE_PLAN}:{plan.price}",
            scenario,
            f"Switch to {plan_words(plan)}",
            None,
            scenario.description,
        )
        for plan in purchase.plans
    ]


def _parts() -> Lab:
    parts = runtime()
    return Lab(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings)
