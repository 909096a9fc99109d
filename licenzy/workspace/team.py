"""Reads about a team: its members as a page shows them, and the invitations that nobody accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import exists, func
from sqlmodel import Session, col, or_, select

from licenzy.db.columns import Instant
from licenzy.workspace import queries
from licenzy.workspace.models import Invitation, Membership, Role, User, Workspace
from licenzy.workspace.sign_in_models import Passkey, SignInSession, TotpFactor


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A member of a workspace, with what others may know of how they sign in."""

    user_id: str
    name: str
    email: str
    role: Role
    joined_at: datetime
    disabled_at: datetime | None
    last_seen_at: datetime | None
    has_second_factor: bool


def team_of(db: Session, *, workspace_id: str, user_id: str | None = None) -> list[MemberFacts]:
    """The members, who joined first at the top; only one of them where an id is given."""
    last_seen = (
        select(func.max(SignInSession.last_seen_at, type_=Instant))
        .where(SignInSession.user_id == User.id)
        .correlate(User)
        .scalar_subquery()
    )
    app = exists().where(col(TotpFactor.user_id) == col(User.id), col(TotpFactor.confirmed_at).is_not(None))
    passkey = exists().where(col(Passkey.user_id) == col(User.id))
    statement = (
        select(User, Membership, last_seen, or_(app, passkey))
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(Membership.workspace_id == workspace_id)
        .order_by(col(Membership.created_at), col(User.id))
    )
    if user_id is not None:
        statement = statement.where(User.id == user_id)
    return [
        MemberFacts(
            user_id=user.id,
            name=user.name,
            email=user.email,
            role=membership.role,
            joined_at=membership.created_at,
            disabled_at=user.disabled_at,
            last_seen_at=seen,
            has_second_factor=bool(has_factor),
        )
        for user, membership, seen, has_factor in db.exec(statement)
    ]


def waiting_invitations(db: Session, *, workspace_id: str) -> Sequence[Invitation]:
    """The invitations that were neither accepted nor revoked, expired ones too, newest first."""
    return db.exec(
        select(Invitation)
        .where(
            Invitation.workspace_id == workspace_id,
            col(Invitation.accepted_at).is_(None),
            col(Invitation.revoked_at).is_(None),
        )
        .order_by(col(Invitation.created_at).desc(), col(Invitation.id).desc())
    ).all()


@dataclass(frozen=True, slots=True)
class OfferedInvitation:
    """What a link invites somebody to."""

    workspace: str
    email: str
    role: Role
    inviter: str | None
    has_account: bool
    """Whether somebody can sign in with the address."""
    over: Literal["accepted", "revoked", "expired"] | None
    """Why the link does not work any more; None while it does."""


def offered_invitation(db: Session, *, token: str, now: datetime) -> OfferedInvitation | None:
    """What the link with this token is of, whatever has become of it; None when it is of nothing."""
    invitation = queries.invitation_by_token(db, token=token)
    if invitation is None:
        return None
    inviter = db.get(User, invitation.invited_by) if invitation.invited_by else None
    return OfferedInvitation(
        workspace=db.get_one(Workspace, invitation.workspace_id).name,
        email=invitation.email,
        role=invitation.role,
        inviter=inviter.name if inviter else None,
        has_account=queries.find_user(db, email=invitation.email) is not None,
        over=_why_over(invitation, now=now),
    )


def _why_over(invitation: Invitation, *, now: datetime) -> Literal["accepted", "revoked", "expired"] | None:
    if invitation.accepted_at is not None:
        return "accepted"
    if invitation.revoked_at is not None:
        return "revoked"
    return "expired" if now >= invitation.expires_at else None
