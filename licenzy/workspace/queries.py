"""Reads about people, their sessions and their workspaces."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import distinct, func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.db.columns import Instant
from licenzy.db.reads import read_all, read_first
from licenzy.workspace import rules
from licenzy.workspace.models import Invitation, Membership, PasswordReset, Role, User, Workspace
from licenzy.workspace.sign_in_models import SignInSession


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person and the session they are signed in with."""

    user_id: str
    email: str
    name: str
    session_id: str
    authenticated_at: datetime
    last_seen_at: datetime
    second_factor_at: datetime | None


@dataclass(frozen=True, slots=True)
class AddressUse:
    """How many people have signed in from one address lately."""

    ip: str | None
    unheeded_header: str | None
    """The header by which a proxy named another address, where no proxy is trusted to."""
    people: int
    last_at: datetime


def addresses_used(db: Session, *, since: datetime) -> list[AddressUse]:
    """From where people have signed in since then, most people first."""
    people = func.count(distinct(col(SignInSession.user_id)))
    last_at = func.max(SignInSession.created_at, type_=Instant)
    address, header = col(SignInSession.ip), col(SignInSession.unheeded_header)
    found = db.execute(
        select_columns(address, header, people, last_at)
        .where(col(SignInSession.created_at) > since)
        .group_by(address, header)
        .order_by(people.desc(), address)
    )
    return [AddressUse(*row) for row in found]


def is_claimed(db: Session) -> bool:
    """Whether this installation belongs to somebody, so that the one-time link is good for nothing.

    Anybody at all counts: owners made on the command line, owners who were disabled, and people of other
    roles. The link stands in logs. If it worked again when the last owner is disabled, whoever reads an old
    log could take over an installation that is in use. Who has the command line needs no link: there
    `licenzy users create` makes an owner at any time.
    """
    return db.exec(select(User.id).limit(1)).first() is not None


def signed_in_by_token(db: Session, *, token: str, now: datetime) -> SignedIn | None:
    """Who holds the session with this token; None when it ended, expired, or its person was disabled."""
    row = _session_with_person(db, token_hash=rules.token_hash(token))
    if row is None:
        return None
    session, user = row
    if rules.is_over(
        last_seen_at=session.last_seen_at,
        expires_at=session.expires_at,
        revoked_at=session.revoked_at,
        now=now,
    ):
        return None
    return SignedIn(
        user_id=user.id,
        email=user.email,
        name=user.name,
        session_id=session.id,
        authenticated_at=session.authenticated_at,
        last_seen_at=session.last_seen_at,
        second_factor_at=session.second_factor_at,
    )


@read_first
def _session_with_person(*, token_hash: str) -> Select[SignInSession, User]:
    return (
        select(SignInSession, User)
        .join(User, col(User.id) == col(SignInSession.user_id))
        .where(SignInSession.token_hash == token_hash, col(User.disabled_at).is_(None))
    )


@read_first
def find_user(*, email: str) -> SelectOfScalar[User]:
    """The person with this address in normal form (`rules.normal_email`)."""
    return select(User).where(User.email == email)


def user_by_id(db: Session, *, user_id: str) -> User:
    """The person with this id, who must exist."""
    return db.get_one(User, user_id)


def invitation_by_token(db: Session, *, token: str) -> Invitation | None:
    """The invitation that a link is of, whatever has become of it."""
    return db.exec(select(Invitation).where(Invitation.token_hash == rules.token_hash(token))).first()


def open_reset_by_token(db: Session, *, token: str, now: datetime) -> tuple[PasswordReset, User] | None:
    """What a link that sets a password is of; None once it is used, revoked or too old, once the password
    was changed after it was made, and while its person is disabled."""
    return db.exec(
        select(PasswordReset, User)
        .join(User, col(User.id) == col(PasswordReset.user_id))
        .where(
            PasswordReset.token_hash == rules.token_hash(token),
            col(PasswordReset.used_at).is_(None),
            col(PasswordReset.revoked_at).is_(None),
            col(PasswordReset.expires_at) > now,
            col(PasswordReset.created_at) >= col(User.password_changed_at),
            col(User.disabled_at).is_(None),
        )
        .execution_options(populate_existing=True)
    ).first()


def names_of(db: Session, *, user_ids: Collection[str]) -> dict[str, str]:
    """The names of these people, by id; for showing who did something."""
    return dict(_names(db, user_ids=list(user_ids)))


@read_all
def _names(*, user_ids: Sequence[str]) -> Select[str, str]:
    return select(User.id, User.name).where(col(User.id).in_(user_ids))


def sessions_of(db: Session, *, user_id: str, now: datetime) -> list[SignInSession]:
    """The sessions that still count for this person, the last used first."""
    sessions = db.exec(
        select(SignInSession)
        .where(
            SignInSession.user_id == user_id,
            col(SignInSession.revoked_at).is_(None),
            col(SignInSession.expires_at) > now,
            col(SignInSession.last_seen_at) > now - rules.SESSION_IDLE,
        )
        .order_by(col(SignInSession.last_seen_at).desc(), col(SignInSession.id).desc())
    )
    return list(sessions)


@read_first
def workspace_by_id(*, workspace_id: str) -> SelectOfScalar[Workspace]:
    """The workspace with this id; checks no membership."""
    return select(Workspace).where(Workspace.id == workspace_id)


def workspaces_of(db: Session, *, user_id: str) -> Sequence[tuple[Workspace, Role]]:
    """The workspaces this person belongs to with the role in each, oldest first."""
    found = db.exec(
        select(Workspace, Membership.role)
        .join(Membership, col(Membership.workspace_id) == col(Workspace.id))
        .where(Membership.user_id == user_id)
        .order_by(col(Workspace.id))
    )
    return [(workspace, Role(role)) for workspace, role in found]


def members_of(db: Session, *, workspace_id: str) -> Sequence[tuple[User, Membership]]:
    """The people of a workspace, who joined first at the top."""
    found = db.exec(
        select(User, Membership)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(Membership.workspace_id == workspace_id)
        .order_by(col(Membership.created_at), col(User.id))
    )
    return [(user, membership) for user, membership in found]
