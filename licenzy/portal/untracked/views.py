"""Untracked purchases: what was sold past Licenzy, and adopting it onto a customer."""

from __future__ import annotations

from flask import abort, flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog.queries import archived_products, products
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.imported import IMPORT
from licenzy.entitlements.queries import was_recorded
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import go, show
from licenzy.portal.untracked.forms import AdoptForm, advice
from licenzy.runtime import runtime
from licenzy.stripe_events.adoption import Bought, adopt, proposed_subject, what_was_bought
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_events.untracked_queries import PurchaseKind, Shown, untracked_by_id, untracked_page
from licenzy.subjects.queries import subject_by_id, subject_by_ref
from licenzy.workspace.models import Role
from licenzy.workspace.queries import names_of

_MOST_SEARCHED = 200


@project.get("/untracked")
@project_page(Role.VIEWER)
def untracked(side: Side) -> ResponseReturnValue:
    """What nobody has adopted yet; `?show=` lists what was adopted or has ended, `?kind=` one kind.

    `?search=` is an e-mail address, a reference, or an id of Stripe's.
    """
    asked, place = request.args, requested_place("unt")
    shown = Shown(asked["show"]) if asked.get("show") in set(Shown) else Shown.WAITING
    kind = PurchaseKind(asked["kind"]) if asked.get("kind") in set(PurchaseKind) else None
    search = asked.get("search", "").replace("\0", "").strip()[:_MOST_SEARCHED]
    with runtime().database.read() as db:
        page = untracked_page(db, side.scope, shown=shown, kind=kind, search=search, place=place)
        listed = [*products(db, side.scope), *archived_products(db, side.scope)]
    kept = {
        "show": shown.value if shown is not Shown.WAITING else None,
        "kind": kind.value if kind is not None else None,
        "search": search or None,
    }
    return show(
        "untracked/list.html",
        purchases=page.rows,
        codes={each.id: each.product_code for each in listed},
        shown=shown.value,
        kind=kept["kind"],
        kept=kept,
        search=search,
        pages=adjacent_pages(page, place, **kept),
    )


@project.get("/untracked/<id('unt'):untracked_id>")
@project_page(Role.VIEWER)
def untracked_checkout(side: Side, untracked_id: str) -> ResponseReturnValue:
    """One untracked purchase, with what Stripe says was bought for who may adopt it."""
    return _page(side, _kept(side, untracked_id), AdoptForm(formdata=None))


@project.post("/untracked/<id('unt'):untracked_id>/adoption")
@project_page(Role.SUPPORT)
def adopt_untracked(side: Side, untracked_id: str) -> ResponseReturnValue:
    """Say whose an untracked purchase is."""
    kept = _kept(side, untracked_id)
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
            noun = "checkout" if kept.session_id is not None else "subscription"
            flash(f"The {noun} counts for {subject.subject_ref} now.", "success")
            return go(url_for("portal.project.customer", subject_id=subject.id))
    return _page(side, kept, form, status=422)


def _page(side: Side, kept: UntrackedCheckout, form: AdoptForm, *, status: int = 200) -> ResponseReturnValue:
    bought, problem = None, None
    may_adopt = kept.adopted_at is None and side.may(Role.SUPPORT)
    if status == 200 and may_adopt:
        bought, problem = _read(side, kept)
    with runtime().database.read() as db:
        subject = subject_by_id(db, side.scope, subject_id=kept.subject_id) if kept.subject_id else None
        names = names_of(db, user_ids=[kept.adopted_by] if kept.adopted_by else [])
        imported = was_recorded(db, side.scope, source_id=f"{IMPORT}:{kept.purchase_key}")
        proposal = proposed_subject(db, side.scope, kept, bought) if status == 200 and may_adopt else None
    if proposal is not None:
        form.subject_ref.data = proposal.subject_ref
    return show(
        "untracked/page.html",
        "untracked/_adopt_form.html" if status == 422 else None,
        status=status,
        checkout=kept,
        bought=bought,
        problem=problem,
        proposal=proposal,
        advice=advice(problem) if problem is not None else None,
        # False for what the merchant has to fix first, and not for Stripe being away.
        adoptable=not isinstance(problem, InvalidRequest),
        subject=subject,
        adopter=names.get(kept.adopted_by or ""),
        imported=imported,
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


def _operator_context(side: Side, form: AdoptForm) -> OperatorContext:
    return OperatorContext(side.scope, side.actor, (form.note.data or "").strip(), runtime().clock())


def _kept(side: Side, untracked_id: str) -> UntrackedCheckout:
    with runtime().database.read() as db:
        kept = untracked_by_id(db, side.scope, untracked_id=untracked_id)
    if kept is None:
        abort(404)
    return kept
