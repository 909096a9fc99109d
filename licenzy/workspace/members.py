"""Verbs about members: their role, leaving, removal, and disabling a person for the whole installation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from licenzy.errors import InvalidRequest
from licenzy.workspace import queries, rules, team_rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import Invitation, PasswordReset, Role, User
from licenzy.workspace.sessions import end_sessions
from licenzy.workspace.team_locks import (
    MemberNotFound,
    RoleTooLow,
    TeamMember,
    acting_role,
    locked_member,
    locked_workspaces_of,
    refuse_last_owner,
)


class BelongsElsewhere(InvalidRequest):
    message = (
        "This person also belongs to a workspace that is not yours, so you cannot do this to their account."
    )
    hint = "Remove them from this workspace, or ask the operator of this server."


def change_role(
    db: Session, *, workspace_id: str, user_id: str, role: Role, actor: Actor, now: datetime
) -> bool:
    """Give a member another role; False where they have it already.

    Raises MemberNotFound, RoleTooLow and LastOwner.
    """
    member = locked_member(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    before = member.membership.role
    if role is before:
        return False
    if role not in team_rules.roles_to_give(member.acting):
        needed = Role.OWNER if role is Role.OWNER else Role.ADMIN
        raise RoleTooLow(f"Only an {needed.value} can give the role {role.value}.", needed=needed)
    if before is Role.OWNER:
        refuse_last_owner(db, workspace_id=workspace_id, without=user_id)
    member.membership.role = role
    db.flush()
    links = end_links(db, workspace_id, user_id, now=now) if team_rules.is_lowered(before, role) else {}
    record(
        db,
        actor=actor,
        action="member.role_changed",
        about=user_id,
        workspace_id=workspace_id,
        before={"role": before.value},
        after={"role": role.value, **links},
        now=now,
    )
    return True


def remove_member(db: Session, *, workspace_id: str, user_id: str, actor: Actor, now: datetime) -> None:
    """End a membership, one's own too. What the person may open in the workspace ends with it.

    Raises MemberNotFound, RoleTooLow and LastOwner.
    """
    member = locked_member(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    role = member.membership.role
    if role is Role.OWNER:
        refuse_last_owner(db, workspace_id=workspace_id, without=user_id)
    db.delete(member.membership)
    db.flush()
    links = end_links(db, workspace_id, user_id, now=now)
    record(
        db,
        actor=actor,
        action="member.left" if actor.user_id == user_id else "member.removed",
        about=user_id,
        workspace_id=workspace_id,
        before={"email": member.user.email, "role": role.value},
        after=links or None,
        now=now,
    )


def disable_user(db: Session, *, workspace_id: str, user_id: str, actor: Actor, now: datetime) -> bool:
    """Let a person sign in no more, anywhere, and end all their sessions; False where that is so already.

    Only for owners of all workspaces that the person belongs to. Raises MemberNotFound, RoleTooLow,
    BelongsElsewhere and LastOwner.
    """
    member = _other_person(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    if member.user.disabled_at is not None:
        return False
    for each, role in locked_workspaces_of(db, user_id=user_id).items():
        if role is Role.OWNER:
            refuse_last_owner(db, workspace_id=each, without=user_id)
    member.user.disabled_at = now
    db.flush()
    end_sessions(db, user_id=user_id, except_id=None, now=now)
    links = end_links(db, None, user_id, now=now)
    record(
        db,
        actor=actor,
        action="user.disabled",
        about=user_id,
        workspace_id=workspace_id,
        before={"email": member.user.email, "disabled": False},
        after={"disabled": True, **links},
        now=now,
    )
    return True


def enable_user(db: Session, *, workspace_id: str, user_id: str, actor: Actor, now: datetime) -> bool:
    """Let a person sign in again; False where they can. Raises as `disable_user` does."""
    member = _other_person(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    if member.user.disabled_at is None:
        return False
    member.user.disabled_at = None
    db.flush()
    record(
        db,
        actor=actor,
        action="user.enabled",
        about=user_id,
        workspace_id=workspace_id,
        before={"email": member.user.email, "disabled": True},
        after={"disabled": False},
        now=now,
    )
    return True


def refuse_foreign_person(db: Session, *, user_id: str, actor: Actor, lowest: Role) -> None:
    """Raise BelongsElsewhere unless who acts has the role `lowest`, and may act on the person, in each of
    the person's workspaces: an account opens all of them."""
    if actor.user_id is None:
        return
    for workspace_id, their in locked_workspaces_of(db, user_id=user_id).items():
        try:
            own = acting_role(db, workspace_id, actor)
        except MemberNotFound:
            raise BelongsElsewhere from None
        if not own.at_least(lowest) or not team_rules.may_act_on(own, their):
            raise BelongsElsewhere


def locked_account(db: Session, *, workspace_id: str, user_id: str, actor: Actor) -> TeamMember:
    """A member whose account an owner acts on, every workspace that it opens locked beforehand.

    Raises MemberNotFound, RoleTooLow, and BelongsElsewhere unless who acts owns all those workspaces.
    """
    locked_workspaces_of(db, user_id=user_id)
    member = locked_member(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    if member.acting is not Role.OWNER:
        message = f"This needs the role owner, and your role is {member.acting.value}."
        raise RoleTooLow(message, needed=Role.OWNER)
    refuse_foreign_person(db, user_id=user_id, actor=actor, lowest=Role.OWNER)
    return member


def _other_person(db: Session, *, workspace_id: str, user_id: str, actor: Actor) -> TeamMember:
    member = locked_account(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    if actor.user_id == user_id:
        raise InvalidRequest("You cannot disable your own account.", hint="Ask another owner.")
    return member


def end_links(db: Session, workspace_id: str | None, user_id: str, *, now: datetime) -> dict[str, Any]:
    """Revoke the open links that a person made who may make no more of them, and perhaps kept; how many.

    In one workspace their invitations, or in all of them and those that reset passwords too.
    """
    where = [col(Invitation.workspace_id) == workspace_id] if workspace_id else []
    invitations = db.execute(
        update(Invitation)
        .where(
            col(Invitation.invited_by) == user_id,
            col(Invitation.accepted_at).is_(None),
            col(Invitation.revoked_at).is_(None),
            *where,
        )
        .values(revoked_at=now)
        .returning(col(Invitation.id))
    ).all()
    resets = db.execute(
        update(PasswordReset)
        .where(
            col(PasswordReset.issued_by) == user_id,
            col(PasswordReset.used_at).is_(None),
            col(PasswordReset.revoked_at).is_(None),
        )
        .values(revoked_at=now)
        .returning(col(PasswordReset.id))
    ).all()
    ended = {"invitations_revoked": len(invitations), "password_links_revoked": len(resets)}
    return {name: count for name, count in ended.items() if count}


def user_named(db: Session, *, email: str) -> User:
    """The person with this address, for the command line. Raises InvalidRequest with `fields`."""
    address = rules.normal_email(email)
    user = queries.find_user(db, email=address) if address else None
    if user is None:
        raise InvalidRequest(fields={"email": "No person has this e-mail address."})
    return user
