"""Who wants to be mailed what blocks live mode."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from licenzy.errors import NotFound
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import Membership, Workspace


def choose_alerts(db: Session, *, actor: Actor, workspace_id: str, wanted: bool, now: datetime) -> None:
    """Have the acting person mailed, or mailed no more. Raises NotFound for who is no member."""
    membership = db.get(Membership, (workspace_id, actor.user_id or ""), with_for_update=True)
    if membership is None:
        raise NotFound("You are not a member of this workspace.")
    if wanted is (membership.alerts_since is not None):
        return
    membership.alerts_since = now if wanted else None
    record(
        db,
        actor=actor,
        action="member.alerts_changed",
        workspace_id=workspace_id,
        about=membership.user_id,
        before={"mailed": not wanted},
        after={"mailed": wanted},
        now=now,
    )


def wanted_alerts(db: Session, *, user_id: str) -> Sequence[tuple[Workspace, datetime | None]]:
    """The workspaces of a person, each with since when they are mailed about it."""
    found = db.exec(
        select(Workspace, Membership.alerts_since)
        .join(Membership, col(Membership.workspace_id) == col(Workspace.id))
        .where(Membership.user_id == user_id)
        .order_by(col(Workspace.id))
    )
    return [(workspace, since) for workspace, since in found]
