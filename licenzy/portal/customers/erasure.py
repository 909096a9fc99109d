"""Erasing a customer: what goes and what stays, and the ref to type."""

from __future__ import annotations

from flask import abort, flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.forgetting.actions import forget_subject
from licenzy.portal.blueprint import project
from licenzy.portal.customers.forms import ErasureForm
from licenzy.portal.guards import Side, fresh, project_page
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id
from licenzy.workspace.models import Role


@project.get("/customers/<id('sbj'):subject_id>/erasure")
@project_page(Role.ADMIN)
@fresh
def erase_customer_page(side: Side, subject_id: str) -> ResponseReturnValue:
    """What erasing the customer removes, and what stays."""
    subject = _subject(side, subject_id)
    return show("customers/erase.html", subject=subject, form=ErasureForm(subject.subject_ref))


@project.post("/customers/<id('sbj'):subject_id>/erasure")
@project_page(Role.ADMIN)
@fresh
def erase_customer(side: Side, subject_id: str) -> ResponseReturnValue:
    """Erase the customer; the worker removes what is stored."""
    subject = _subject(side, subject_id)
    form, parts = ErasureForm(subject.subject_ref), runtime()
    if form.validate():
        with form.refusals():
            forget_subject(
                parts.database,
                parts.secret_box,
                side.scope,
                subject_ref=subject.subject_ref,
                actor=side.actor,
                now=parts.clock(),
            )
            flash("The customer was erased and has no access. The stored data is being removed.", "success")
            return go(url_for("portal.project.customer", subject_id=subject_id))
    return show("customers/erase.html", "customers/_erase_form.html", status=422, subject=subject, form=form)


def _subject(side: Side, subject_id: str) -> Subject:
    with runtime().database.read() as db:
        found = subject_by_id(db, side.scope, subject_id=subject_id)
    if found is None or found.erased_at is not None:
        abort(404)
    return found
