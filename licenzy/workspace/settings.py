"""Verbs on a workspace itself: make one, rename it, how its pages write times, what sign-ins need."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from licenzy.errors import InvalidRequest
from licenzy.kit.ids import new_id
from licenzy.kit.names import clean_name, name_problem
from licenzy.kit.time_zones import zone_names
from licenzy.workspace import rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import DateFormat, Membership, Role, Workspace
from licenzy.workspace.sign_in_models import Passkey, TotpFactor
from licenzy.workspace.team_locks import locked_workspace


class OwnSecondFactorMissing(InvalidRequest):
    message = "You have no second factor yourself, so this would lock you out."
    hint = "Add an authenticator app or a passkey on your account page, then switch it on."


def create_workspace(db: Session, *, actor: Actor, name: str, now: datetime) -> Workspace:
    """Make a workspace, whose owner is the acting person. Raises InvalidRequest with `fields`."""
    workspace = Workspace(id=new_id("wsp"), name=_checked_name(name), created_at=now)
    db.add(workspace)
    db.flush()
    assert actor.user_id is not None  # Pages alone make workspaces.
    db.add(Membership(workspace_id=workspace.id, user_id=actor.user_id, role=Role.OWNER, created_at=now))
    record(
        db,
        actor=actor,
        action="workspace.created",
        workspace_id=workspace.id,
        about=workspace.id,
        after={"name": workspace.name},
        now=now,
    )
    return workspace


def rename_workspace(db: Session, *, actor: Actor, workspace_id: str, name: str, now: datetime) -> None:
    """Give a workspace another name. Raises InvalidRequest with `fields`, and NotFound."""
    workspace = locked_workspace(db, workspace_id)
    before, workspace.name = workspace.name, _checked_name(name)
    if before == workspace.name:
        return
    record(
        db,
        actor=actor,
        action="workspace.renamed",
        workspace_id=workspace_id,
        about=workspace_id,
        before={"name": before},
        after={"name": workspace.name},
        now=now,
    )


def choose_time_display(
    db: Session, *, actor: Actor, workspace_id: str, time_zone: str, date_format: DateFormat, now: datetime
) -> None:
    """Choose how pages of the workspace write times. Raises InvalidRequest with `fields`, and NotFound."""
    workspace = locked_workspace(db, workspace_id)
    if time_zone not in zone_names():
        raise InvalidRequest(
            fields={"time_zone": "This server does not know this time zone. Choose another."}
        )
    before = _time_display(workspace)
    workspace.time_zone, workspace.date_format = time_zone, date_format
    _record_settings(db, actor, workspace_id, before, _time_display(workspace), now)


def require_second_factor(
    db: Session, *, actor: Actor, workspace_id: str, required: bool, now: datetime
) -> None:
    """Require a second factor of everybody in the workspace, or require it no more.

    Raises OwnSecondFactorMissing for who has none and would be locked out by it, and NotFound.
    """
    workspace = locked_workspace(db, workspace_id)
    if required and not has_second_factor(db, user_id=actor.user_id or ""):
        raise OwnSecondFactorMissing
    if required is (workspace.second_factor_required_at is not None):
        return
    workspace.second_factor_required_at = now if required else None
    before, after = {"second_factor_required": not required}, {"second_factor_required": required}
    _record_settings(db, actor, workspace_id, before, after, now)


def has_second_factor(db: Session, *, user_id: str) -> bool:
    """Whether the person has an authenticator app that proved right, or a passkey."""
    app = select(TotpFactor.user_id).where(
        TotpFactor.user_id == user_id, col(TotpFactor.confirmed_at).is_not(None)
    )
    passkey = select(Passkey.id).where(Passkey.user_id == user_id)
    return any(db.exec(each.limit(1)).first() is not None for each in (app, passkey))


def _record_settings(
    db: Session,
    actor: Actor,
    workspace_id: str,
    before: dict[str, Any],
    after: dict[str, Any],
    now: datetime,
) -> None:
    if before == after:
        return
    record(
        db,
        actor=actor,
        action="workspace.settings_changed",
        workspace_id=workspace_id,
        about=workspace_id,
        before=before,
        after=after,
        now=now,
    )


def _time_display(workspace: Workspace) -> dict[str, Any]:
    return {"time_zone": workspace.time_zone, "date_format": DateFormat(workspace.date_format).value}


def _checked_name(name: str) -> str:
    title = clean_name(name)
    problem = name_problem(title, most=rules.NAME_MAX)
    if problem is not None:
        raise InvalidRequest(fields={"name": problem})
    return title
