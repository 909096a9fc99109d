"""What operators do manually to what a customer owns: grant, revoke, adjust units, extend, lift."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from flask import abort, flash, request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.catalog.queries import products
from licenzy.checkout.trials import allow_another_trial
from licenzy.entitlements import grants
from licenzy.entitlements.events import Change
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.queries import entitlement_by_id
from licenzy.portal.blueprint import project
from licenzy.portal.customers.customer_page import (
    EntitlementForm,
    customer_page,
    required_word,
)
from licenzy.portal.customers.forms import (
    AdjustForm,
    AdjustIncludedForm,
    ExtendForm,
    GrantForm,
    LiftForm,
    OperatorForm,
    RevokeForm,
    TrialForm,
)
from licenzy.portal.formatting import number
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import flashed_refusals, go, show
from licenzy.reconciliation.requests import resync
from licenzy.reconciliation.walk import Report
from licenzy.runtime import runtime
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id, subject_by_ref
from licenzy.workspace.models import Role

_ENTITLEMENT = "/customers/<id('sbj'):subject_id>/entitlements/<id('ent'):entitlement_id>"
NOTHING_NEW = "Nothing changed. It was already so, or the form was sent twice."

Do = Callable[[Session, OperatorContext], list[Change]]


@project.route("/grants/new", methods=["GET", "POST"])
@project_page(Role.SUPPORT)
def new_grant(side: Side) -> ResponseReturnValue:
    """Give a product to somebody, known or new, without a purchase."""
    with runtime().database.read() as db:
        listed = products(db, side.scope)
    form = GrantForm()
    form.offer(listed)
    if not form.is_submitted():
        form.subject_ref.data = request.args.get("subject_ref", "")[:200]
        form.product_code.data = listed[0].product_code if listed else None
        return show("customers/grant.html", form=form, products=listed)
    if form.validate():
        with form.refusals():
            return _granted(side, form)
    return show("customers/grant.html", "customers/_grant_form.html", status=422, form=form, products=listed)


@project.post("/customers/<id('sbj'):subject_id>/resync")
@project_page(Role.SUPPORT)
def resync_customer(side: Side, subject_id: str) -> ResponseReturnValue:
    """Read what the customer bought from Stripe again, now."""
    parts = runtime()
    with parts.database.read() as db:
        if subject_by_id(db, side.scope, subject_id=subject_id) is None:
            abort(404)
    with flashed_refusals(and_then="What was synced before that is kept."):
        report = resync(
            parts.database,
            parts.gateway,
            parts.secret_box,
            side.scope,
            subject_id=subject_id,
            actor=side.actor,
            clock=parts.clock,
        )
        flash(*_resynced(report))
    return go(url_for("portal.project.customer", subject_id=subject_id))


def _resynced(report: Report) -> tuple[str, str]:
    """What to say of a resync, and how."""
    count = report.subscriptions_seen + report.sessions_seen
    if not count:
        return "Nothing to sync: this customer has bought nothing through Stripe.", "info"
    read = f"{number(count)} purchase{'' if count == 1 else 's'} synced from Stripe"
    if report.problems:
        named = ", ".join(problem["object"] for problem in report.problems[:3])
        return f"{read}. Could not be compared: {named}.", "warning"
    if report.differences:
        return f"{read}. Differences are fixed and listed in the history.", "success"
    return f"{read}. Nothing differs.", "success"


@project.post(f"{_ENTITLEMENT}/revocation")
@project_page(Role.SUPPORT)
def revoke_entitlement(side: Side, subject_id: str, entitlement_id: str) -> ResponseReturnValue:
    """End an entitlement now; in live the customer's ref must be typed."""

    def do(db: Session, operator: OperatorContext) -> list[Change]:
        return grants.revoke(db, operator, entitlement_id=entitlement_id)

    refused = EntitlementForm(entitlement_id, "revoke", RevokeForm())
    return _act(side, subject_id, refused, do, "Revoked. This entitlement no longer gives access.")


@project.post(f"{_ENTITLEMENT}/adjustments")
@project_page(Role.SUPPORT)
def adjust_entitlement(side: Side, subject_id: str, entitlement_id: str) -> ResponseReturnValue:
    """Add units to a pack or take some; in live the customer's ref must be typed for taking."""
    form = AdjustForm()

    def do(db: Session, operator: OperatorContext) -> list[Change]:
        return grants.adjust_units(db, operator, entitlement_id=entitlement_id, units=form.change)

    return _act(side, subject_id, EntitlementForm(entitlement_id, "adjust", form), do, "Units adjusted.")


@project.post(f"{_ENTITLEMENT}/window-adjustments")
@project_page(Role.SUPPORT)
def adjust_included_units(side: Side, subject_id: str, entitlement_id: str) -> ResponseReturnValue:
    """Add units to the present window of an included unit or take some; taking is confirmed as above."""
    form = AdjustIncludedForm()

    def do(db: Session, operator: OperatorContext) -> list[Change]:
        return grants.adjust_included(
            db, operator, entitlement_id=entitlement_id, unit=form.unit.data, units=form.change
        )

    return _act(
        side, subject_id, EntitlementForm(entitlement_id, "adjust_included", form), do, "Units adjusted."
    )


@project.post(f"{_ENTITLEMENT}/extensions")
@project_page(Role.SUPPORT)
def extend_entitlement(side: Side, subject_id: str, entitlement_id: str) -> ResponseReturnValue:
    """Let an entitlement last longer."""
    form = ExtendForm()

    def do(db: Session, operator: OperatorContext) -> list[Change]:
        return grants.extend(db, operator, entitlement_id=entitlement_id, seconds=form.seconds)

    return _act(side, subject_id, EntitlementForm(entitlement_id, "extend", form), do, "Extended.")


@project.post(f"{_ENTITLEMENT}/lifting")
@project_page(Role.SUPPORT)
def lift_entitlement(side: Side, subject_id: str, entitlement_id: str) -> ResponseReturnValue:
    """Restore access that a refund or dispute ended."""

    def do(db: Session, operator: OperatorContext) -> list[Change]:
        return grants.lift(db, operator, entitlement_id=entitlement_id)

    return _act(side, subject_id, EntitlementForm(entitlement_id, "lift", LiftForm()), do, "Access restored.")


@project.post("/customers/<id('sbj'):subject_id>/trial-allowance")
@project_page(Role.SUPPORT)
def allow_trial(side: Side, subject_id: str) -> ResponseReturnValue:
    """Let a customer who had a trial have one more."""
    form = TrialForm()
    form.set_ids("trial", required_word=None)
    if form.validate():
        with form.refusals():
            operator = operator_context(side, form)
            allowed = runtime().database.retrying(
                lambda db: allow_another_trial(db, operator, subject_id=subject_id)
            )
            flash("Another trial is allowed." if allowed else NOTHING_NEW, "success" if allowed else "info")
            return go(url_for("portal.project.customer", subject_id=subject_id))
    return customer_page(side, subject_id, "customers/_trial_form.html", status=422, trial_form=form)


def _act(side: Side, subject_id: str, submitted: EntitlementForm, do: Do, done: str) -> ResponseReturnValue:
    """Do what a form of the customer's page asks for, or show the form again with what is wrong."""
    with runtime().database.read() as db:
        subject = subject_by_id(db, side.scope, subject_id=subject_id)
        owned = entitlement_by_id(db, side.scope, entitlement_id=submitted.entitlement_id)
    if subject is None or owned is None or owned.subject_id != subject_id:
        abort(404)
    submitted.form.set_ids(
        f"{submitted.act}-{submitted.entitlement_id}", required_word=required_word(side, subject)
    )
    submitted.form.fill_choices(owned)
    if submitted.form.validate():
        with submitted.form.refusals():
            changes = runtime().database.retrying(lambda db: do(db, operator_context(side, submitted.form)))
            flash(done if changes else NOTHING_NEW, "success" if changes else "info")
            return go(url_for("portal.project.customer", subject_id=subject_id))
    return customer_page(side, subject_id, "customers/_act_form.html", status=422, refused=submitted)


def _granted(side: Side, form: GrantForm) -> ResponseReturnValue:
    product, seconds = form.product, form.seconds
    assert product is not None

    def give(db: Session) -> tuple[list[Change], Subject | None]:
        operator = operator_context(side, form)
        changes = grants.grant(
            db,
            operator,
            subject_ref=form.subject_ref.data,
            product=product,
            until=operator.there + timedelta(seconds=seconds) if seconds is not None else None,
            units=form.units.data,
        )
        return changes, subject_by_ref(db, side.scope, subject_ref=form.subject_ref.data)

    changes, subject = runtime().database.retrying(give)
    assert subject is not None
    granted = f"{product.product_code} was granted to {subject.subject_ref}."
    flash(granted if changes else NOTHING_NEW, "success" if changes else "info")
    return go(url_for("portal.project.customer", subject_id=subject.id))


def operator_context(side: Side, form: OperatorForm) -> OperatorContext:
    """Who acts, as a form was sent: under its own name, so that one sent twice is done once."""
    note = (form.note.data or "").strip()
    return OperatorContext(
        side.scope, side.actor, note, runtime().clock(), submission_id=form.submission_id.data
    )
