"""What every verb about a team does first: lock the workspace, and find out who acts on whom.

The rows of workspaces are locked in the order of their ids and before those of people, so that two who act
on each other at the same time come one after the other, and the second sees what the first did.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from licenzy.errors import InvalidRequest, NotFound
from licenzy.workspace import team_rules
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import Membership, Role, User, Workspace


class RoleTooLow(InvalidRequest):
    """Who acts may not do this. `needed` is the role that may."""

    def __init__(self, message: str, *, needed: Role) -> None:
        self.needed = needed
        super().__init__(message, hint=f"Ask an {needed.value} of the workspace.")


class LastOwner(InvalidRequest):
    message = "This person is the only owner of the workspace who can sign in."
    hint = "Make somebody else an owner first."


class MemberNotFound(NotFound):
    message = "This person is not a member of the workspace."
    hint = "Reload the team page to see who is."


@dataclass(frozen=True, slots=True)
class TeamMember:
    """A person with their membership, both locked, and the role of who acts."""

    user: User
    membership: Membership
    acting: Role


def locked_workspace(db: Session, workspace_id: str) -> Workspace:
    """The workspace, locked until the transaction ends: nobody else changes who belongs to it.

    Raises NotFound for one that was deleted meanwhile.
    """
    workspace = db.get(Workspace, workspace_id, populate_existing=True, with_for_update=True)
    if workspace is None:
        raise NotFound("This workspace does not exist.")
    return workspace


def acting_role(db: Session, workspace_id: str, actor: Actor) -> Role:
    """The role of who acts, as it is now. The command line may do what owners may."""
    if actor.user_id is None:
        return Role.OWNER
    membership = db.get(Membership, (workspace_id, actor.user_id), populate_existing=True)
    if membership is None:
        raise MemberNotFound
    return membership.role


def locked_member(db: Session, *, workspace_id: str, user_id: str, actor: Actor) -> TeamMember:
    """A member to act on. Raises MemberNotFound, for who acts too, and RoleTooLow.

    What one does to oneself needs no role: nobody can raise themselves, since no role may give a higher one.
    """
    locked_workspace(db, workspace_id)
    acting = acting_role(db, workspace_id, actor)
    membership = db.get(Membership, (workspace_id, user_id), populate_existing=True, with_for_update=True)
    if membership is None:
        raise MemberNotFound
    if actor.user_id != user_id and not team_rules.may_act_on(acting, membership.role):
        needed = Role.OWNER if membership.role is Role.OWNER else Role.ADMIN
        raise RoleTooLow(
            f"This needs the role {needed.value}, and your role is {acting.value}.", needed=needed
        )
    user = db.get_one(User, user_id, populate_existing=True, with_for_update=True)
    return TeamMember(user, membership, acting)


def refuse_last_owner(db: Session, *, workspace_id: str, without: str) -> None:
    """Raise LastOwner where the workspace, which is locked, has no other owner who can sign in."""
    others = (
        select(func.count())
        .select_from(Membership)
        .join(User, col(User.id) == col(Membership.user_id))
        .where(
            Membership.workspace_id == workspace_id,
            Membership.role == Role.OWNER,
            Membership.user_id != without,
            col(User.disabled_at).is_(None),
        )
    )
    if db.exec(others).one() == 0:
        raise LastOwner


def locked_workspaces_of(db: Session, *, user_id: str) -> dict[str, Role]:
    """The workspaces of a person, all locked, with the person's role in each.

    They are read once more under the locks: somebody may have joined another one while waiting for them.
    """
    held: set[str] = set()
    while True:
        memberships = _memberships(db, user_id)
        if set(memberships) <= held:
            return memberships
        _lock(db, set(memberships) - held)
        held |= set(memberships)


def _memberships(db: Session, user_id: str) -> dict[str, Role]:
    found = db.exec(select(Membership.workspace_id, Membership.role).where(Membership.user_id == user_id))
    return {workspace_id: Role(role) for workspace_id, role in found}


def _lock(db: Session, workspace_ids: Collection[str]) -> None:
    for workspace_id in sorted(workspace_ids):
        locked_workspace(db, workspace_id)
