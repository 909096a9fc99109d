"""A project's settings: its name, where checkouts return to, the default unit, archiving and deleting it."""

from __future__ import annotations

from functools import partial

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.archiving.actions import (
    ProjectNotArchived,
    archive_project,
    delete_project,
    holds_live_connection,
    unarchive_project,
)
from licenzy.portal.blueprint import project
from licenzy.portal.forms import TypedForm
from licenzy.portal.guards import Side, fresh, project_page, works_while_archived
from licenzy.portal.respond import flashed_refusals, go, show
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
        flash(f"Saved for {side.mode} mode.", "success")
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
            flash(f"Saved for {side.mode} mode.", "success")
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


@project.post("/settings/archive")
@project_page(Role.ADMIN)
def archive(side: Side) -> ResponseReturnValue:
    """Keep the project for reading alone; its name must be typed where it is connected in live mode."""
    with runtime().database.read() as db:
        live_connected = holds_live_connection(db, project_id=side.project_id)
    problem = TypedForm().unless_typed(side.project.name, _NAME) if live_connected else None
    if problem is not None:
        return _page(side, status=422, archive_error=problem)
    work = partial(archive_project, actor=side.actor, project_id=side.project_id, now=runtime().clock())
    runtime().database.retrying(work)
    flash("The project is archived.", "success")
    return go(url_for("portal.project.project_settings"))


@project.post("/settings/unarchive")
@project_page(Role.ADMIN)
@works_while_archived
def unarchive(side: Side) -> ResponseReturnValue:
    """Take the project back from the archive."""
    work = partial(unarchive_project, actor=side.actor, project_id=side.project_id, now=runtime().clock())
    runtime().database.retrying(work)
    flash("The project is in use again. Create new API keys and resume its webhook endpoints.", "success")
    return go(url_for("portal.project.project_settings"))


@project.post("/settings/deletion")
@project_page(Role.OWNER)
@works_while_archived
@fresh
def delete(side: Side) -> ResponseReturnValue:
    """Delete an archived project once its name was typed."""
    problem = TypedForm().unless_typed(side.project.name, _NAME)
    if problem is not None:
        return _page(side, status=422, deletion_error=problem)
    work = partial(delete_project, actor=side.actor, project_id=side.project_id, now=runtime().clock())
    with flashed_refusals(and_then=ProjectNotArchived.hint):
        runtime().database.retrying(work)
        flash(f"The project “{side.project.name}” is deleted.", "success")
        return go(url_for("portal.projects"))
    return go(url_for("portal.project.project_settings"))


_NAME = "the project’s name"


def _page(
    side: Side,
    fragment: str | None = None,
    *,
    status: int = 200,
    name_form: ProjectNameForm | None = None,
    returns_form: ReturnsForm | None = None,
    unit_form: DefaultUnitForm | None = None,
    known_form: KnownCustomersForm | None = None,
    archive_error: str | None = None,
    deletion_error: str | None = None,
) -> ResponseReturnValue:
    with runtime().database.read() as db:
        chosen = mode_settings(db, side.scope)
        live_connected = holds_live_connection(db, project_id=side.project_id)
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
        live_connected=live_connected,
        archive_error=archive_error,
        deletion_error=deletion_error,
        unit_is_fixed=unit_form is None and chosen.default_unit_used_at is not None,
    )
