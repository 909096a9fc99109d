"""Reads of projects.

`project_for`, `projects_for` and `projects_to_enter` return only what the user may see; the others check
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.db.reads import read_all, read_first
from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects.models import Project, ProjectSide
from licenzy.projects.scope import Scope
from licenzy.workspace.models import Membership, Role, Workspace


class ProjectArchived(InvalidRequest):
    message = "This project is archived, so nothing in it can be changed."
    hint = "Unarchive it on its settings page first."


def project_for(db: Session, *, user_id: str, project_id: str) -> tuple[Project, Role] | None:
    """A project and the user's role in it.

    None when it does not exist, or is in a workspace the user does not belong to.
    """
    found = _project(db, user_id=user_id, project_id=project_id)
    return None if found is None else (found[0], Role(found[1]))


def projects_for(db: Session, *, user_id: str) -> Sequence[tuple[Project, Role]]:
    """All projects the user may see, oldest first (ids sort by time), with the role in each."""
    return [(project, Role(role)) for project, role in _projects(db, user_id=user_id)]


def projects_to_enter(
    db: Session, *, user_id: str, with_second_factor: bool
) -> Sequence[tuple[Project, Role]]:
    """Those of `projects_for` that a session may open which was, or was not, given a second factor."""
    found = _projects(db, user_id=user_id) if with_second_factor else _open_projects(db, user_id=user_id)
    return [(project, Role(role)) for project, role in found]


@read_first
def _project(*, user_id: str, project_id: str) -> Select[Project, str]:
    return _visible_to(user_id).where(Project.id == project_id)


@read_all
def _projects(*, user_id: str) -> Select[Project, str]:
    return _visible_to(user_id).order_by(col(Project.id))


@read_all
def _open_projects(*, user_id: str) -> Select[Project, str]:
    return (
        _visible_to(user_id)
        .join(Workspace, col(Workspace.id) == col(Project.workspace_id))
        .where(col(Workspace.second_factor_required_at).is_(None))
        .order_by(col(Project.id))
    )


def _visible_to(user_id: str) -> Select[Project, str]:
    return (
        select(Project, Membership.role)
        .join(Membership, col(Membership.workspace_id) == col(Project.workspace_id))
        .where(Membership.user_id == user_id, col(Project.deleted_at).is_(None))
    )


def mode_settings(db: Session, scope: Scope) -> ProjectSide:
    """The project's settings for one mode; rows for both modes are created with the project."""
    return db.get_one(ProjectSide, (scope.project_id, scope.mode))


@read_first
def side_of(scope: Scope) -> SelectOfScalar[ProjectSide]:
    """The same, or none where nothing was ever chosen for the mode."""
    return select(ProjectSide).where(
        ProjectSide.project_id == scope.project_id, ProjectSide.mode == scope.mode
    )


def is_worked_on(project_id: Any) -> ColumnElement[bool]:
    """Whether the project with this id, a column of another table, is neither archived nor deleted."""
    return exists().where(
        col(Project.id) == project_id, col(Project.archived_at).is_(None), col(Project.deleted_at).is_(None)
    )


def is_there(project_id: Any) -> ColumnElement[bool]:
    """Whether the project with this id, a column of another table, was not deleted."""
    return exists().where(col(Project.id) == project_id, col(Project.deleted_at).is_(None))


def refuse_archived(db: Session, *, project_id: str) -> None:
    """Raise ProjectArchived for one that is archived; until the transaction ends nobody archives it.

    Raises NotFound for one that does not exist.
    """
    found = db.exec(
        select(Project.archived_at, Project.deleted_at)
        .where(Project.id == project_id)
        .with_for_update(read=True, key_share=True)
    ).first()
    if found is None or found[1] is not None:
        raise NotFound("This project does not exist.")
    if found[0] is not None:
        raise ProjectArchived


def project_names(db: Session) -> dict[str, str]:
    """The name of each project by its id, oldest first (ids sort by time), archived ones left out.

    Checks no membership; for the CLI.
    """
    return dict(_names(db))


@read_all
def _names() -> Select[str, str]:
    return select(Project.id, Project.name).where(_is_open()).order_by(col(Project.id))


def project_ids(db: Session) -> list[str]:
    """The ids of all projects, oldest first (ids sort by time), archived ones left out.

    Checks no membership; for the CLI and metrics.
    """
    return list(db.exec(select(Project.id).where(_is_open()).order_by(col(Project.id))))


def _is_open() -> ColumnElement[bool]:
    return and_(col(Project.archived_at).is_(None), col(Project.deleted_at).is_(None))
