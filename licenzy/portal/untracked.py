"""Untracked checkouts: what was paid past Licenzy, and adopting it onto a customer."""

from __future__ import annotations

from flask import abort, flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.entitlements.grants import OperatorContext
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.kit.ids import has_shape
from licenzy.portal.blueprint import portal
from licenzy.portal.forms.by_hand import AdoptForm
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import pages_beside, place_asked
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.stripe_events.adoption import Bought, adopt, what_was_bought
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_events.untracked import untracked_by_id, untracked_page
from licenzy.subjects.queries import subject_by_id, subject_by_ref
from licenzy.subjects.rules import ref_problem
from licenzy.workspace.models import Role
from licenzy.workspace.queries import names_of

_LATER = "Nothing was changed. Try again in a moment."
_SIDE = "/projects/<project_id>/<mode:mode>"


@portal.get(f"{_SIDE}/untracked")
@project_page(Role.VIEWER)
def untracked(side: Side) -> ResponseReturnValue:
    """The checkouts that nobody has adopted yet, or with `?adopted=1` those that somebody has."""
    adopted, place = request.args.get("adopted") == "1", place_asked(_untracked_id)
    with runtime().database.read() as db:
        page = untracked_page(db, side.scope, adopted=adopted, place=place)
    return show(
        "untracked/list.html",
        checkouts=page.rows,
        adopted=adopted,
        pages=pages_beside(page, place, adopted="1" if adopted else None),
    )


@portal.get(f"{_SIDE}/untracked/<untracked_id>")
@project_page(Role.VIEWER)
def untracked_one(side: Side, untracked_id: str) -> ResponseReturnValue:
    """One untracked checkout, with what Stripe says was bought for who may adopt it."""
    kept = _kept(side, untracked_id)
    form = AdoptForm(formdata=None)
    if kept.reference is not None and ref_problem(kept.reference) is None:
        form.subject_ref.data = kept.reference
    return _page(side, kept, form)


@portal.post(f"{_SIDE}/untracked/<untracked_id>/adoption")
@project_page(Role.SUPPORT)
def adopt_untracked(side: Side, untracked_id: str) -> ResponseReturnValue:
    """Say whose an untracked checkout is."""
    kept = _kept(side, untracked_id)
    form = AdoptForm()
    parts = runtime()
    if form.validate():
        try:
            adopt(
                parts.database,
                parts.gateway,
                parts.secret_box,
                _hand(side, form),
                untracked_id=untracked_id,
                subject_ref=form.subject_ref.data,
            )
        except LicenzyError as error:
            if error.status >= 500:  # The hint of such an error is for programs.
                error.hint = _LATER
            form.refuse(error)
        else:
            with parts.database.read() as db:
                subject = subject_by_ref(db, side.scope, subject_ref=form.subject_ref.data)
            assert subject is not None
            flash(f"The checkout counts for {subject.subject_ref} now.", "success")
            return go(url_for("portal.customer", subject_id=subject.id))
    return _page(side, kept, form, status=422)


def _page(side: Side, kept: UntrackedCheckout, form: AdoptForm, *, status: int = 200) -> ResponseReturnValue:
    bought, problem = None, None
    if status == 200 and kept.adopted_at is None and side.may(Role.SUPPORT):
        bought, problem = _read(side, kept)
    with runtime().database.read() as db:
        subject = subject_by_id(db, side.scope, subject_id=kept.subject_id) if kept.subject_id else None
        names = names_of(db, user_ids=[kept.adopted_by] if kept.adopted_by else [])
    return show(
        "untracked/page.html",
        "untracked/_adopt_form.html" if status == 422 else None,
        status=status,
        checkout=kept,
        bought=bought,
        problem=problem,
        later=_LATER,
        # What the merchant has to mend first, and not Stripe being away.
        adoptable=not isinstance(problem, InvalidRequest),
        subject=subject,
        adopter=names.get(kept.adopted_by or ""),
        form=form,
    )


def _read(side: Side, kept: UntrackedCheckout) -> tuple[Bought | None, LicenzyError | None]:
    parts = runtime()
    try:
        bought = what_was_bought(
            parts.database, parts.gateway, parts.secret_box, side.scope, untracked_id=kept.id
        )
    except LicenzyError as problem:
        return None, problem
    return bought, None


def _hand(side: Side, form: AdoptForm) -> OperatorContext:
    return OperatorContext(side.scope, side.actor, (form.note.data or "").strip(), runtime().clock())


def _kept(side: Side, untracked_id: str) -> UntrackedCheckout:
    if _untracked_id(untracked_id) is None:
        abort(404)
    with runtime().database.read() as db:
        kept = untracked_by_id(db, side.scope, untracked_id=untracked_id)
    if kept is None:
        abort(404)
    return kept


def _untracked_id(word: str) -> str | None:
    return word if has_shape(word, "unt") else None
