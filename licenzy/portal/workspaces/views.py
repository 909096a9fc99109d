"""A workspace's settings, making another workspace, and deleting one."""

from __future__ import annotations

from flask import abort, flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.kit.time_zones import UTC_NAME, zone_names
from licenzy.portal.blueprint import portal, workspace
from licenzy.portal.forms import TypedForm
from licenzy.portal.guards import (
    WorkspaceMember,
    ask_second_factor,
    fresh,
    has_what_it_requires,
    refuse_role,
    signed_in,
    workspace_page,
)
from licenzy.portal.respond import go, show, show_form
from licenzy.portal.sessions import SignedInUser
from licenzy.portal.workspaces.forms import SecondFactorForm, TimeDisplayForm, WorkspaceNameForm
from licenzy.projects.workspaces import delete_workspace, removal_problem
from licenzy.runtime import runtime
from licenzy.workspace.models import DateFormat, Role, Workspace
from licenzy.workspace.queries import workspaces_of
from licenzy.workspace.settings import (
    choose_time_display,
    create_workspace,
    has_second_factor,
    rename_workspace,
    require_second_factor,
)


@portal.route("/workspaces/new", methods=["GET", "POST"])
@signed_in
def new_workspace(user: SignedInUser) -> ResponseReturnValue:
    """Make another workspace and go to its settings."""
    owned = _owned(user)
    if not owned:
        sentence = "Only people who own a workspace can create another one. Ask an owner to create it."
        refuse_role(user, sentence, needed=Role.OWNER)
    if not any(has_what_it_requires(user, each) for each in owned):
        ask = ask_second_factor(user, owned[0].id)
        if ask is not None:
            return ask
    form = WorkspaceNameForm()
    if form.validate_on_submit():
        with form.refusals():
            with runtime().database.write() as db:
                made = create_workspace(db, actor=user.actor, name=form.name.data, now=runtime().clock())
            flash(f"The workspace “{made.name}” is created.", "success")
            return go(url_for("portal.workspace.workspace_settings", workspace_id=made.id))
    return show_form(form, "workspaces/new.html", "workspaces/_new_form.html")


@workspace.get("/settings")
@workspace_page(Role.ADMIN)
def workspace_settings(member: WorkspaceMember) -> ResponseReturnValue:
    """What the workspace is called, how its pages write times, and what sign-ins need."""
    return _page(member)


@workspace.post("/settings/name")
@workspace_page(Role.ADMIN)
def save_workspace_name(member: WorkspaceMember) -> ResponseReturnValue:
    """Give the workspace another name."""
    form = WorkspaceNameForm()
    if form.validate():
        with form.refusals():
            with runtime().database.write() as db:
                rename_workspace(
                    db,
                    actor=member.actor,
                    workspace_id=member.workspace_id,
                    name=form.name.data,
                    now=runtime().clock(),
                )
            return _saved("The workspace has its new name.")
    return _page(member, "workspaces/_name_form.html", status=422, name_form=form)


@workspace.post("/settings/times")
@workspace_page(Role.ADMIN)
def save_time_display(member: WorkspaceMember) -> ResponseReturnValue:
    """Choose in which zone and how the pages write times."""
    form = TimeDisplayForm()
    if form.validate():
        with form.refusals():
            with runtime().database.write() as db:
                choose_time_display(
                    db,
                    actor=member.actor,
                    workspace_id=member.workspace_id,
                    time_zone=form.time_zone.data,
                    date_format=DateFormat(form.date_format.data),
                    now=runtime().clock(),
                )
            return _saved("All pages of this workspace show times like this from now on.")
    return _page(member, "workspaces/_times_form.html", status=422, times_form=form)


@workspace.post("/settings/second-factor")
@workspace_page(Role.OWNER)
@fresh
def save_second_factor(member: WorkspaceMember) -> ResponseReturnValue:
    """Require a second factor of everybody here, or require it no more."""
    form = SecondFactorForm()
    if form.required.data not in {"yes", "no"}:
        abort(422, "The form must say whether a second factor is required: yes or no. Nothing was changed.")
    required = form.required.data == "yes"
    if form.validate():
        with form.refusals():
            with runtime().database.write() as db:
                require_second_factor(
                    db,
                    actor=member.actor,
                    workspace_id=member.workspace_id,
                    required=required,
                    now=runtime().clock(),
                )
            return _saved(
                "Everybody in this workspace needs a second factor from now on."
                if required
                else "A second factor is no longer required."
            )
    return _page(member, "workspaces/_second_factor_form.html", status=422, factor_form=form)


@workspace.post("/settings/removal")
@workspace_page(Role.OWNER)
@fresh
def remove_workspace(member: WorkspaceMember) -> ResponseReturnValue:
    """Delete a workspace that has no projects, once its name was typed."""
    form = TypedForm()
    problem = form.unless_typed(member.workspace.name, "the workspace’s name")
    if problem is None:
        with form.refusals():
            with runtime().database.write() as db:
                delete_workspace(
                    db, actor=member.actor, workspace_id=member.workspace_id, now=runtime().clock()
                )
            flash(f"The workspace “{member.workspace.name}” is deleted.", "success")
            return go(url_for("portal.projects"))
        problem = " ".join(form.form_errors)
    return _page(member, status=422, removal_error=problem)


def _owned(user: SignedInUser) -> list[Workspace]:
    """The workspaces that the person owns; who owns one may make another."""
    with runtime().database.read() as db:
        mine = workspaces_of(db, user_id=user.user_id)
    return [each for each, role in mine if role.at_least(Role.OWNER)]


def _saved(sentence: str) -> ResponseReturnValue:
    flash(sentence, "success")
    return go(url_for("portal.workspace.workspace_settings"))


def _page(
    member: WorkspaceMember,
    fragment: str | None = None,
    *,
    status: int = 200,
    name_form: WorkspaceNameForm | None = None,
    times_form: TimeDisplayForm | None = None,
    factor_form: SecondFactorForm | None = None,
    removal_error: str | None = None,
) -> ResponseReturnValue:
    here = member.workspace
    with runtime().database.read() as db:
        own_factor = has_second_factor(db, user_id=member.user.user_id)
        kept_because = removal_problem(db, workspace_id=here.id)
    return show(
        "workspaces/settings.html",
        fragment,
        status=status,
        member=member,
        name_form=name_form or WorkspaceNameForm(formdata=None, name=here.name),
        times_form=times_form
        or TimeDisplayForm(
            formdata=None, time_zone=here.time_zone, date_format=DateFormat(here.date_format).value
        ),
        factor_form=factor_form or SecondFactorForm(formdata=None),
        removal_error=removal_error,
        own_factor=own_factor,
        kept_because=kept_because,
        only_utc=zone_names() == (UTC_NAME,),
        zone_is_unknown=here.time_zone not in zone_names(),
    )
