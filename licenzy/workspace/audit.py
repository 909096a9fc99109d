"""The audit log: one row for each thing done, added and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.kit.ids import new_id
from licenzy.workspace.models import AuditEntry


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and from where. Without a user it is the command line, or a stranger."""

    user_id: str | None = None
    ip: str | None = None


def record(
    db: Session,
    *,
    actor: Actor,
    action: str,
    about: str,
    now: datetime,
    workspace_id: str | None = None,
    project_id: str | None = None,
    mode: Mode | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Add one row to the audit log. Secrets in `before` and `after` must be masked by the caller."""
    db.add(
        AuditEntry(
            id=new_id("aud"),
            at=now,
            actor_user_id=actor.user_id,
            ip=actor.ip,
            action=action,
            workspace_id=workspace_id,
            project_id=project_id,
            mode=mode,
            about=about,
            before=before,
            after=after,
        )
    )
    db.flush()
