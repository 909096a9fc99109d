"""The list of projects, and making a new one."""

from __future__ import annotations

from flask import url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import portal
from licenzy.portal.guards import ask_second_factor, refuse_role, signed_in
from licenzy.portal.projects.forms import NewProjectForm
from licenzy.portal.respond import go, show, show_form
from licenzy.portal.sessions import SignedInUser
from licenzy.projects.actions import create_project
from licenzy.projects.queries import projects_for
from licenzy.runtime import runtime
from licenzy.workspace.models import Role
from licenzy.workspace.queries import workspaces_of


@portal.get("/projects")
@signed_in
def projects(user: SignedInUser) -> ResponseReturnValue:
    """Every project one may see."""
    with runtime().database.read() as db:
        mine = projects_for(db, user_id=user.user_id)
    return show("projects/list.html", projects=mine, may_create=workspace_to_grow(user) is not None)


@portal.route("/projects/new", methods=["GET", "POST"])
@signed_in
def new_project(user: SignedInUser) -> ResponseReturnValue:
    """Make a project and go to its set-up, in test mode."""
    workspace_id = workspace_to_grow(user)
    if workspace_id is None:
        refuse_role(user, "Only admins and owners of a workspace can make projects.", needed=Role.ADMIN)
    ask = ask_second_factor(user, workspace_id)
    if ask is not None:
        return ask
    form = NewProjectForm()
    if form.validate_on_submit():
        with form.refusals():
            with runtime().database.write() as db:
                project = create_project(
                    db,
                    actor=user.actor,
                    workspace_id=workspace_id,
                    name=form.name.data,
                    now=runtime().clock(),
                )
            return go(url_for("portal.project.setup", project_id=project.id, mode="test"))
    with runtime().database.read() as db:
        first = not projects_for(db, user_id=user.user_id)
    return show_form(form, "projects/new.html", "projects/_new_form.html", first=first)


def workspace_to_grow(user: SignedInUser) -> str | None:
    """The first workspace in which this person may make projects."""
    with runtime().database.read() as db:
        mine = workspaces_of(db, user_id=user.user_id)
    return next((workspace.id for workspace, role in mine if role.at_least(Role.ADMIN)), None)
