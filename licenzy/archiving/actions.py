"""Verbs that end a project, or take it back from the archive."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.api_keys.actions import revoke_key
from licenzy.api_keys.queries import keys
from licenzy.connections.actions import forget_credentials
from licenzy.connections.queries import connection_of
from licenzy.deliveries.actions import EndpointContext, disable_endpoint
from licenzy.deliveries.queries import endpoints
from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects.models import Project
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record


class ProjectNotArchived(InvalidRequest):
    message = "Only an archived project can be deleted."
    hint: str = "Archive it first."


def archive_project(db: Session, *, actor: Actor, project_id: str, now: datetime) -> None:
    """Keep a project for reading alone: its API keys are revoked and its webhook endpoints disabled.

    One that is archived already stays as it is. Raises NotFound.
    """
    # Who adds a key or an endpoint meanwhile waits for this lock, and is refused then.
    project = _locked(db, project_id)
    if project.archived_at is not None:
        return
    project.archived_at = now
    db.flush()
    revoked = disabled = 0
    for scope in _sides(project_id):
        for key in keys(db, scope):
            if key.revoked_at is None:
                revoke_key(db, scope, key_id=key.id, actor=actor, now=now)
                revoked += 1
        for endpoint in endpoints(db, scope):
            if endpoint.disabled_at is None:
                disable_endpoint(db, EndpointContext(scope, actor, now), endpoint_id=endpoint.id)
                disabled += 1
    after = {"api_keys_revoked": revoked, "webhook_endpoints_disabled": disabled}
    _record(db, project, actor, "project.archived", after=after, now=now)


def unarchive_project(db: Session, *, actor: Actor, project_id: str, now: datetime) -> None:
    """Take a project back from the archive. Raises NotFound.

    Its keys stay revoked, and its endpoints disabled until they are resumed.
    """
    project = _locked(db, project_id)
    if project.archived_at is None:
        return
    before = {"archived_at": project.archived_at.isoformat()}
    project.archived_at = None
    _record(db, project, actor, "project.unarchived", before=before, now=now)


def delete_project(db: Session, *, actor: Actor, project_id: str, now: datetime) -> None:
    """End an archived project for everybody at once; the worker removes its rows afterwards.

    Its Stripe keys and webhook secrets are forgotten here. Raises ProjectNotArchived and NotFound.
    """
    project = _locked(db, project_id)
    if project.archived_at is None:
        raise ProjectNotArchived
    project.deleted_at = now
    forget_credentials(db, project_id=project_id, now=now)
    _record(db, project, actor, "project.deleted", before={"name": project.name}, now=now)


def holds_live_connection(db: Session, *, project_id: str) -> bool:
    """Whether a live Stripe key is saved for the project."""
    connection = connection_of(db, Scope(project_id, Mode.LIVE))
    return connection is not None and connection.key_sealed is not None


def _sides(project_id: str) -> list[Scope]:
    return [Scope(project_id, mode) for mode in Mode]


def _locked(db: Session, project_id: str) -> Project:
    project = db.get(Project, project_id, with_for_update=True, populate_existing=True)
    if project is None or project.deleted_at is not None:
        raise NotFound("This project does not exist.")
    return project


def _record(
    db: Session,
    project: Project,
    actor: Actor,
    action: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    now: datetime,
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        workspace_id=project.workspace_id,
        project_id=project.id,
        about=project.id,
        before=before,
        after=after,
        now=now,
    )
