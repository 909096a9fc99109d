"""Verbs about projects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.ids import new_id
from licenzy.kit.names import clean_name, name_problem
from licenzy.projects.models import Project, ProjectSide
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record

NAME_MAX = 80


def create_project(db: Session, *, actor: Actor, workspace_id: str, name: str, now: datetime) -> Project:
    """Make a project with its test and its live side. Raises InvalidRequest with `fields`."""
    project = Project(id=new_id("prj"), workspace_id=workspace_id, name=_checked_name(name), created_at=now)
    db.add(project)
    db.flush()
    db.add_all(ProjectSide(project_id=project.id, mode=mode) for mode in Mode)
    record(
        db,
        actor=actor,
        action="project.created",
        workspace_id=workspace_id,
        project_id=project.id,
        about=project.id,
        after={"name": project.name},
        now=now,
    )
    return project


def rename_project(db: Session, *, actor: Actor, project_id: str, name: str, now: datetime) -> None:
    """Give a project another name. Raises InvalidRequest with `fields`, and NotFound."""
    project = _project(db, project_id)
    before, project.name = project.name, _checked_name(name)
    record(
        db,
        actor=actor,
        action="project.renamed",
        workspace_id=project.workspace_id,
        project_id=project_id,
        about=project_id,
        before={"name": before},
        after={"name": project.name},
        now=now,
    )


def update_side(
    db: Session,
    scope: Scope,
    *,
    actor: Actor,
    success_url: str | None,
    cancel_url: str | None,
    redirect_hosts: Sequence[str],
    now: datetime,
) -> None:
    """Store where checkouts of this mode return to; the door has checked the addresses. Raises NotFound."""
    project = _project(db, scope.project_id)
    side = db.get_one(ProjectSide, (scope.project_id, scope.mode))
    before = _chosen(side)
    side.success_url = success_url or None
    side.cancel_url = cancel_url or None
    side.redirect_hosts = list(redirect_hosts)
    record(
        db,
        actor=actor,
        action="project.returns_changed",
        workspace_id=project.workspace_id,
        project_id=scope.project_id,
        mode=scope.mode,
        about=scope.project_id,
        before=before,
        after=_chosen(side),
        now=now,
    )


def _project(db: Session, project_id: str) -> Project:
    project = db.get(Project, project_id)
    if project is None:
        raise NotFound("This project does not exist.")
    return project


def _checked_name(name: str) -> str:
    title = clean_name(name)
    problem = name_problem(title, most=NAME_MAX)
    if problem is not None:
        raise InvalidRequest(fields={"name": problem})
    return title


def _chosen(side: ProjectSide) -> dict[str, object]:
    return {
        "success_url": side.success_url,
        "cancel_url": side.cancel_url,
        "redirect_hosts": side.redirect_hosts,
    }
