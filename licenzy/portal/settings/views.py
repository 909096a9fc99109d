"""A project's settings: its name, where checkouts return to, and the default unit."""

from __future__ import annotations

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import go, show
from licenzy.portal.settings.forms import DefaultUnitForm, KnownCustomersForm, ProjectNameForm, ReturnsForm
from licenzy.projects.actions import (
    change_default_unit,
    choose_known_customers,
    rename_project,
    update_side,
)
from licenzy.projects.queries import mode_settings
from licenzy.runtime import runtime
from licenzy.workspace.models import Role


@project.get("/settings")
@project_page(Role.VIEWER)
def project_settings(side: Side) -> ResponseReturnValue:
    """What the project is called, and where its checkouts of this mode return to."""
    return _page(side)


@project.post("/settings/name")
@project_page(Role.ADMIN)
def rename(side: Side) -> ResponseReturnValue:
    """Give the project another name, in both modes."""
    form = ProjectNameForm()
    if form.validate():
        with form.refusals():
            with runtime().database.write() as db:
                rename_project(
                    db,
                    actor=side.actor,
                    project_id=side.project_id,
                    name=form.name.data,
                    now=runtime().clock(),
                )
            flash("The project has its new name.", "success")
            return go(url_for("portal.project.project_settings"))
    return _page(side, "settings/_name_form.html", status=422, name_form=form)


@project.post("/settings/returns")
@project_page(Role.ADMIN)
def save_returns(side: Side) -> ResponseReturnValue:
    """Store where checkouts of this mode return to."""
    form = ReturnsForm()
    form.mode = side.mode
    if form.validate():
        with runtime().database.write() as db:
            update_side(
                db,
                side.scope,
                actor=side.actor,
                success_url=form.success_url.data,
                cancel_url=form.cancel_url.data,
                redirect_hosts=form.hosts(),
                now=runtime().clock(),
            )
        flash(f"Saved for {side.mode}.", "success")
        return go(url_for("portal.project.project_settings"))
    return _page(side, "settings/_returns_form.html", status=422, returns_form=form)


@project.post("/settings/default-unit")
@project_page(Role.ADMIN)
def save_default_unit(side: Side) -> ResponseReturnValue:
    """Choose what calls of this mode draw which name no unit."""
    form = DefaultUnitForm()
    if form.validate():
        with form.refusals():
            with runtime().database.write() as db:
                change_default_unit(
                    db, side.scope, actor=side.actor, unit=form.default_unit.data, now=runtime().clock()
                )
            flash(f"Saved for {side.mode}.", "success")
            return go(url_for("portal.project.project_settings"))
    return _page(side, "settings/_unit_form.html", status=422, unit_form=form)


@project.post("/settings/known-customers")
@project_page(Role.ADMIN)
def save_known_customers(side: Side) -> ResponseReturnValue:
    """Choose, for both modes, whether subscriptions of known customers are adopted without an operator."""
    form = KnownCustomersForm()
    if form.validate():
        with runtime().database.write() as db:
            choose_known_customers(
                db,
                actor=side.actor,
                project_id=side.project_id,
                adopt=form.adopt_known_customers.data,
                now=runtime().clock(),
            )
        flash("Saved for both modes.", "success")
        return go(url_for("portal.project.project_settings"))
    return _page(side, "settings/_known_customers_form.html", status=422, known_form=form)


def _page(
    side: Side,
    fragment: str | None = None,
    *,
    status: int = 200,
    name_form: ProjectNameForm | None = None,
    returns_form: ReturnsForm | None = None,
    unit_form: DefaultUnitForm | None = None,
    known_form: KnownCustomersForm | None = None,
) -> ResponseReturnValue:
    with runtime().database.read() as db:
        chosen = mode_settings(db, side.scope)
    return show(
        "settings/page.html",
        fragment,
        status=status,
        name_form=name_form or ProjectNameForm(formdata=None, name=side.project.name),
        returns_form=returns_form
        or ReturnsForm(
            formdata=None,
            success_url=chosen.success_url,
            cancel_url=chosen.cancel_url,
            redirect_hosts="\n".join(chosen.redirect_hosts),
        ),
        unit_form=unit_form or DefaultUnitForm(formdata=None, default_unit=chosen.default_unit),
        known_form=known_form
        or KnownCustomersForm(formdata=None, adopt_known_customers=side.project.adopt_known_customers),
        # What was refused is shown in its form.
        unit_is_fixed=unit_form is None and chosen.default_unit_used_at is not None,
    )
