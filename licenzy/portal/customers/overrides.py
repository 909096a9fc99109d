"""Features and limits that operators set for one customer, and take away again."""

from __future__ import annotations

from collections.abc import Callable

from flask import abort, flash, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.entitlements.events import Change
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.overrides import remove_override, set_override
from licenzy.entitlements.queries import overrides_of
from licenzy.portal.blueprint import project
from licenzy.portal.customers.customer_page import OverrideAct, customer_page, required_word
from licenzy.portal.customers.forms import OperatorForm, OverrideForm, RemoveOverrideForm
from licenzy.portal.customers.operator_actions import NOTHING_NEW, operator_context
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import go
from licenzy.runtime import runtime
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id
from licenzy.workspace.models import Role

_OVERRIDES = "/customers/<id('sbj'):subject_id>/overrides"

Do = Callable[[Session, OperatorContext], list[Change]]


@project.post(_OVERRIDES)
@project_page(Role.SUPPORT)
def set_customer_override(side: Side, subject_id: str) -> ResponseReturnValue:
    """Set a feature or a limit for a customer, whatever they bought."""
    subject, form = _subject(side, subject_id), OverrideForm()

    def do(db: Session, operator: OperatorContext) -> list[Change]:
        until = operator.there + form.lasts if form.lasts is not None else None
        return set_override(db, operator, subject=subject, override=form.override, until=until)

    return _act(side, subject, OverrideAct(None, form), do, "Set for this customer.")


@project.post(f"{_OVERRIDES}/<id('ent'):override_id>/removal")
@project_page(Role.SUPPORT)
def remove_customer_override(side: Side, subject_id: str, override_id: str) -> ResponseReturnValue:
    """Take away what was set; in live the customer's ref must be typed."""
    subject, form = _subject(side, subject_id), RemoveOverrideForm()
    with runtime().database.read() as db:
        known = overrides_of(db, side.scope, subject_id=subject_id)  # Those that are over too: sent twice.
    if all(each.id != override_id for each in known):
        abort(404)

    def do(db: Session, operator: OperatorContext) -> list[Change]:
        return remove_override(db, operator, subject=subject, override_id=override_id)

    done = "Taken away. What this customer’s products give counts again."
    return _act(side, subject, OverrideAct(override_id, form), do, done)


def _act(side: Side, subject: Subject, submitted: OverrideAct, do: Do, done: str) -> ResponseReturnValue:
    form: OperatorForm = submitted.form
    form.set_ids(submitted.suffix, required_word=required_word(side, subject))
    if form.validate():
        with form.refusals():
            changes = runtime().database.retrying(lambda db: do(db, operator_context(side, form)))
            flash(done if changes else NOTHING_NEW, "success" if changes else "info")
            return go(url_for("portal.project.customer", subject_id=subject.id))
    return customer_page(
        side, subject.id, "customers/_overrides.html", status=422, refused_override=submitted
    )


def _subject(side: Side, subject_id: str) -> Subject:
    with runtime().database.read() as db:
        subject = subject_by_id(db, side.scope, subject_id=subject_id)
    if subject is None:
        abort(404)
    return subject
