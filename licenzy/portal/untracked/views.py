"""Untracked checkouts: what was paid past Licenzy, and adopting it onto a customer."""

from __future__ import annotations

from flask import abort, flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.entitlements.grants import OperatorContext
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import go, show
from licenzy.portal.untracked.forms import TRY_LATER, AdoptForm
from licenzy.runtime import runtime
from licenzy.stripe_events.adoption import Bought, adopt, what_was_bought
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_events.untracked import untracked_by_id, untracked_page
from licenzy.subjects.queries import subject_by_id, subject_by_ref
from licenzy.subjects.rules import ref_problem
from licenzy.workspace.models import Role
from licenzy.workspace.queries import names_of


@project.get("/untracked")
@project_page(Role.VIEWER)
def untracked(side: Side) -> ResponseReturnValue:
    """The checkouts that nobody has adopted yet, or with `?adopted=1` those that somebody has."""
    adopted, place = request.args.get("adopted") == "1", requested_place("unt")
    with runtime().database.read() as db:
        page = untracked_page(db, side.scope, adopted=adopted, place=place)
    return show(
        "untracked/list.html",
        checkouts=page.rows,
        adopted=adopted,
        pages=adjacent_pages(page, place, adopted="1" if adopted else None),
    )


@project.get("/untracked/<id('unt'):untracked_id>")
@project_page(Role.VIEWER)
def untracked_checkout(side: Side, untracked_id: str) -> ResponseReturnValue:
    """One untracked checkout, with what Stripe says was bought for who may adopt it."""
    checkout = _checkout(side, untracked_id)
    form = AdoptForm(formdata=None)
    if checkout.reference is not None and ref_problem(checkout.reference) is None:
        form.subject_ref.data = checkout.reference
    return _page(side, checkout, form)


@project.post("/untracked/<id('unt'):untracked_id>/adoption")
@project_page(Role.SUPPORT)
def adopt_untracked(side: Side, untracked_id: str) -> ResponseReturnValue:
    """Say whose an untracked checkout is."""
    checkout = _checkout(side, untracked_id)
    form = AdoptForm()
    parts = runtime()
    if form.validate():
        with form.refusals():
            adopt(
                parts.database,
                parts.gateway,
                parts.secret_box,
                _operator_context(side, form),
                untracked_id=untracked_id,
                subject_ref=form.subject_ref.data,
            )
            with parts.database.read() as db:
                subject = subject_by_ref(db, side.scope, subject_ref=form.subject_ref.data)
            assert subject is not None
            flash(f"The checkout counts for {subject.subject_ref} now.", "success")
            return go(url_for("portal.project.customer", subject_id=subject.id))
    return _page(side, checkout, form, status=422)


def _page(
    side: Side, checkout: UntrackedCheckout, form: AdoptForm, *, status: int = 200
) -> ResponseReturnValue:
    bought, problem = None, None
    if status == 200 and checkout.adopted_at is None and side.may(Role.SUPPORT):
        bought, problem = _read(side, checkout)
    with runtime().database.read() as db:
        subject = (
            subject_by_id(db, side.scope, subject_id=checkout.subject_id) if checkout.subject_id else None
        )
        names = names_of(db, user_ids=[checkout.adopted_by] if checkout.adopted_by else [])
    return show(
        "untracked/page.html",
        "untracked/_adopt_form.html" if status == 422 else None,
        status=status,
        checkout=checkout,
        bought=bought,
        problem=problem,
        later=TRY_LATER,
        # False for what the merchant has to fix first, and not for Stripe being away.
        adoptable=not isinstance(problem, InvalidRequest),
        subject=subject,
        adopter=names.get(checkout.adopted_by or ""),
        form=form,
    )


def _read(side: Side, checkout: UntrackedCheckout) -> tuple[Bought | None, LicenzyError | None]:
    parts = runtime()
    try:
        bought = what_was_bought(
            parts.database, parts.gateway, parts.secret_box, side.scope, untracked_id=checkout.id
        )
    except LicenzyError as problem:
        return None, problem
    return bought, None


def _operator_context(side: Side, form: AdoptForm) -> OperatorContext:
    return OperatorContext(side.scope, side.actor, (form.note.data or "").strip(), runtime().clock())


def _checkout(side: Side, untracked_id: str) -> UntrackedCheckout:
    with runtime().database.read() as db:
        checkout = untracked_by_id(db, side.scope, untracked_id=untracked_id)
    if checkout is None:
        abort(404)
    return checkout
