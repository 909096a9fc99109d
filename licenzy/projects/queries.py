"""Reads of projects, always through the workspaces a person belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from licenzy.db.reads import read_all, read_first
from licenzy.projects.models import Project, ProjectSide
from licenzy.projects.scope import Scope
from licenzy.workspace.models import Membership, Role


def project_for(db: Session, *, user_id: str, project_id: str) -> tuple[Project, Role] | None:
    """A project and this person's role in it; None when it is foreign or does not exist."""
    found = _project(db, user_id=user_id, project_id=project_id)
    return None if found is None else (found[0], Role(found[1]))


@read_first
def _project(*, user_id: str, project_id: str) -> Select[Project, str]:
    return (
        select(Project, Membership.role)
        .join(Membership, col(Membership.workspace_id) == col(Project.workspace_id))
        .where(Project.id == project_id, Membership.user_id == user_id)
    )


def projects_for(db: Session, *, user_id: str) -> Sequence[tuple[Project, Role]]:
    """All projects this person may see, oldest first, with the role in each."""
    return [(project, Role(role)) for project, role in _projects(db, user_id=user_id)]


@read_all
def _projects(*, user_id: str) -> Select[Project, str]:
    return (
        select(Project, Membership.role)
        .join(Membership, col(Membership.workspace_id) == col(Project.workspace_id))
        .where(Membership.user_id == user_id)
        .order_by(col(Project.id))
    )


def mode_settings(db: Session, scope: Scope) -> ProjectSide:
    """What the project has chosen for this mode. Every project has both sides from its beginning."""
    return db.get_one(ProjectSide, (scope.project_id, scope.mode))


def project_ids(db: Session) -> list[str]:
    """The ids of all projects, oldest first; for the command line, which sees them all."""
    return list(db.exec(select(Project.id).order_by(col(Project.id))))
