"""Deleting a workspace, which nobody may whose projects stand in it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete
from sqlmodel import Session, col, select

from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects.models import Project
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import Installation, Invitation, Membership, Workspace


class WorkspaceInUse(InvalidRequest):
    """Raised while something still needs the workspace."""


def delete_workspace(db: Session, *, actor: Actor, workspace_id: str, now: datetime) -> None:
    """Remove a workspace with its memberships and invitations. Raises WorkspaceInUse and NotFound.

    Its row is locked first: whoever adds a project, a member or an invitation refers to it and waits, and
    is refused by the database once it is gone.
    """
    workspace = db.get(Workspace, workspace_id, with_for_update=True, populate_existing=True)
    if workspace is None:
        raise NotFound("This workspace does not exist.")
    problem = removal_problem(db, workspace_id=workspace_id)
    if problem is not None:
        raise WorkspaceInUse(problem)
    for table in (Invitation, Membership):
        db.execute(delete(table).where(col(table.workspace_id) == workspace_id))
    db.delete(workspace)
    record(
        db,
        actor=actor,
        action="workspace.deleted",
        workspace_id=workspace_id,
        about=workspace_id,
        before={"name": workspace.name},
        now=now,
    )


def removal_problem(db: Session, *, workspace_id: str) -> str | None:
    """Why the workspace cannot be deleted now, and what to do; None when it can."""
    deleted = db.exec(select(Project.deleted_at).where(Project.workspace_id == workspace_id)).all()
    if any(each is None for each in deleted):
        return "It still has projects. Archive and delete them first."
    if deleted:
        return "Deleted projects are still being removed from it. Try again in a few minutes."
    if db.exec(select(Installation.id).where(Installation.workspace_id == workspace_id)).first():
        return (
            "It is the first workspace of this installation, which people that the command line adds join. "
            "Rename it instead."
        )
    return None
