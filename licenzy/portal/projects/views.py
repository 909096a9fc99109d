"""The list of projects, and making a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import request, url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import portal
from licenzy.portal.guards import ask_second_factor, has_what_it_requires, refuse_role, signed_in
from licenzy.portal.projects.forms import NewProjectForm
from licenzy.portal.respond import go, show, show_form
from licenzy.portal.sessions import SignedInUser
from licenzy.projects.actions import create_project
from licenzy.projects.models import Project
from licenzy.projects.queries import projects_for, projects_to_enter
from licenzy.runtime import runtime
from licenzy.workspace.models import Role, Workspace
from licenzy.workspace.queries import workspaces_of


@portal.get("/projects")
@signed_in
def projects(user: SignedInUser) -> ResponseReturnValue:
    """Every project one may see. Workspaces whose second factor was not given are counted and not named."""
    with runtime().database.read() as db:
        mine = projects_to_enter(
            db, user_id=user.user_id, with_second_factor=user.second_factor_at is not None
        )
        homes = workspaces_of(db, user_id=user.user_id)
    groups = [
        _group(workspace, role, mine) for workspace, role in homes if has_what_it_requires(user, workspace)
    ]
    return show(
        "projects/list.html",
        groups=groups,
        closed=len(homes) - len(groups),
        any_projects=bool(mine),
        may_create=any(role.at_least(Role.ADMIN) for _workspace, role in homes),
        may_create_workspace=any(role.at_least(Role.OWNER) for _workspace, role in homes),
    )


@portal.route("/projects/new", methods=["GET", "POST"])
@signed_in
def new_project(user: SignedInUser) -> ResponseReturnValue:
    """Make a project and go to its set-up, in test mode."""
    homes = workspaces_to_grow(user)
    if not homes:
        refuse_role(user, "Only admins and owners of a workspace can make projects.", needed=Role.ADMIN)
    form = NewProjectForm(workspace=request.args.get("workspace"))
    open_homes = [home for home in homes if has_what_it_requires(user, home)]
    chosen = next((home for home in homes if home.id == form.workspace.data), (*open_homes, *homes)[0])
    ask = ask_second_factor(user, chosen.id)
    if ask is not None:
        return ask
    form.offer(open_homes)
    if form.validate_on_submit():
        with form.refusals():
            with runtime().database.write() as db:
                project = create_project(
                    db,
                    actor=user.actor,
                    workspace_id=form.workspace.data,
                    name=form.name.data,
                    now=runtime().clock(),
                )
            return go(url_for("portal.project.setup", project_id=project.id, mode="test"))
    with runtime().database.read() as db:
        first = not projects_for(db, user_id=user.user_id)
    return show_form(form, "projects/new.html", "projects/_new_form.html", first=first)


def workspaces_to_grow(user: SignedInUser) -> list[Workspace]:
    """The workspaces in which this person may make projects, oldest first."""
    with runtime().database.read() as db:
        mine = workspaces_of(db, user_id=user.user_id)
    return [workspace for workspace, role in mine if role.at_least(Role.ADMIN)]


@dataclass(frozen=True, slots=True)
class ProjectGroup:
    """The projects of one workspace, and the person's role in it."""

    workspace: Workspace
    role: Role
    projects: list[Project]
    archived: list[Project]


def _group(workspace: Workspace, role: Role, mine: Sequence[tuple[Project, Role]]) -> ProjectGroup:
    here = [project for project, _role in mine if project.workspace_id == workspace.id]
    return ProjectGroup(
        workspace,
        role,
        [project for project in here if project.archived_at is None],
        [project for project in here if project.archived_at is not None],
    )
