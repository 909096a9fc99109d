"""Verbs about projects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, update

from licenzy.alignment.modes import Mode
from licenzy.db.upsert import insert_unless_there
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.ids import new_id
from licenzy.kit.names import clean_name, name_problem
from licenzy.projects.models import Project, ProjectSide
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.team_locks import locked_workspace

NAME_MAX = 80


def create_project(db: Session, *, actor: Actor, workspace_id: str, name: str, now: datetime) -> Project:
    """Make a project with its test and its live side. Raises InvalidRequest with `fields`, and NotFound."""
    locked_workspace(db, workspace_id)
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


def choose_known_customers(db: Session, *, actor: Actor, project_id: str, adopt: bool, now: datetime) -> None:
    """Let subscriptions made past Licenzy count for customers it knows, or only once adopted. NotFound."""
    project = _project(db, project_id)
    before, project.adopt_known_customers = project.adopt_known_customers, adopt
    if before == adopt:
        return
    record(
        db,
        actor=actor,
        action="project.known_customers_changed",
        workspace_id=project.workspace_id,
        project_id=project_id,
        about=project_id,
        before={"adopt_known_customers": before},
        after={"adopt_known_customers": adopt},
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


def fix_default_unit(db: Session, scope: Scope, *, now: datetime) -> str:
    """Note a call that names no unit, unless one was noted before; the default unit, which stays from now on.

    On Postgres whoever is just changing it is waited for.
    """
    row = {"project_id": scope.project_id, "mode": scope.mode, "redirect_hosts": []}
    insert_unless_there(db, ProjectSide, row)
    db.exec(
        update(ProjectSide)
        .where(
            col(ProjectSide.project_id) == scope.project_id,
            col(ProjectSide.mode) == scope.mode,
            col(ProjectSide.default_unit_used_at).is_(None),
        )
        .values(default_unit_used_at=now)
    )
    return db.get_one(ProjectSide, (scope.project_id, scope.mode), populate_existing=True).default_unit


def change_default_unit(db: Session, scope: Scope, *, actor: Actor, unit: str, now: datetime) -> None:
    """Let calls that name no unit draw another one. The door has checked its name.

    Raises NotFound, and InvalidRequest with `fields` once a call named none: it would mean something else
    from one moment to the next.
    """
    project = _project(db, scope.project_id)
    side = db.get_one(
        ProjectSide, (scope.project_id, scope.mode), with_for_update=True, populate_existing=True
    )
    if side.default_unit == unit:
        return
    if side.default_unit_used_at is not None:
        raise InvalidRequest(
            fields={"default_unit": f"Calls without a unit have drawn {side.default_unit}, so it stays so."}
        )
    before, side.default_unit = side.default_unit, unit
    record(
        db,
        actor=actor,
        action="project.default_unit_changed",
        workspace_id=project.workspace_id,
        project_id=scope.project_id,
        mode=scope.mode,
        about=scope.project_id,
        before={"default_unit": before},
        after={"default_unit": unit},
        now=now,
    )


def _project(db: Session, project_id: str) -> Project:
    project = db.get(Project, project_id)
    if project is None or project.deleted_at is not None:
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
