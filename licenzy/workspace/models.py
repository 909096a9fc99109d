"""Workspaces, the people in them, how they sign in, and what they did."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Index
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class Role(StrEnum):
    """What a person may do in a workspace; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    SUPPORT = "support"
    ADMIN = "admin"
    OWNER = "owner"

    def at_least(self, role: Role) -> bool:
        """Whether this role may do what `role` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(role)


class Workspace(Table, table=True):
    """People and the projects they share."""

    __tablename__ = "workspaces"

    id: str = Field(primary_key=True)
    name: str
    created_at: datetime = Field(sa_type=Instant)


class User(Table, table=True):
    """A person who can sign in."""

    __tablename__ = "users"

    id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    """In lower case; what one signs in with."""
    name: str
    password_hash: str
    password_changed_at: datetime = Field(sa_type=Instant)
    created_at: datetime = Field(sa_type=Instant)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)


class Membership(Table, table=True):
    """A person's role in a workspace."""

    __tablename__ = "memberships"

    workspace_id: str = Field(foreign_key="workspaces.id", primary_key=True)
    user_id: str = Field(foreign_key="users.id", primary_key=True, index=True)
    role: Role = Field(sa_type=Word(Role))
    created_at: datetime = Field(sa_type=Instant)


class SignInSession(Table, table=True):
    """One browser that is signed in. Its cookie holds a random token; here is only the token's hash."""

    __tablename__ = "sign_in_sessions"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    token_hash: str = Field(unique=True)
    """SHA-256 of the token, in hex."""
    created_at: datetime = Field(sa_type=Instant)
    last_seen_at: datetime = Field(sa_type=Instant)
    """Written at most once in `rules.SEEN_EVERY`."""
    authenticated_at: datetime = Field(sa_type=Instant)
    """When the password was last given; credentials may be changed for a while after it."""
    expires_at: datetime = Field(sa_type=Instant)
    """The absolute end, whatever the activity."""
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)
    ip: str | None = None
    user_agent: str = ""
    unheeded_header: str | None = None
    """The header by which a proxy named another client address, where no proxy is trusted to."""


class PasswordTries(Table, table=True):
    """The recent wrong passwords for one account, network address, known device or session."""

    __tablename__ = "password_tries"

    key: str = Field(primary_key=True)
    """A hash of what was tried; see `rules.Throttle`."""
    tries: list[int] = Field(default=[], sa_type=JSON)
    """Microseconds since 1970 of each; those that count no more go with the next."""
    forget_at: datetime = Field(sa_type=Instant, index=True)
    """When none of them counts any more."""


class Installation(Table, table=True):
    """The one row that names the first workspace; it is locked while people are added."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: int = Field(default=1, primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    """The first workspace, which the claiming owner joins."""
    claimed_at: datetime | None = Field(default=None, sa_type=Instant)
    """When the one-time link was used. Whether it still works is told by whether there is anybody."""
    claimed_by: str | None = Field(default=None, foreign_key="users.id")


class AuditEntry(Table, table=True):
    """Something a person, the command line or a machine did; rows are added and never changed."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_project_id_mode_at", "project_id", "mode", "at"),
        Index("ix_audit_log_workspace_id_at", "workspace_id", "at"),
    )

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=Instant)
    actor_user_id: str | None = None
    """None for the command line and for strangers."""
    ip: str | None = None
    action: str
    """Noun and past participle: `api_key.created`, `sign_in.failed`."""
    workspace_id: str | None = None
    project_id: str | None = None
    mode: Mode | None = Field(default=None, sa_type=Word(Mode))
    about: str
    """The id or name of what it was done to."""
    before: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    after: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    """Secrets are masked before they come here."""


class AuditRepeat(Table, table=True):
    """Something that can be made to happen at will, and was recorded less than an hour ago."""

    __tablename__ = "audit_repeats"

    key: str = Field(primary_key=True)
    """A hash of what happened, and to what or whom."""
    until: datetime = Field(sa_type=Instant, index=True)
    """When the next one is recorded again."""
