"""Workspaces, the people in them, how they sign in, and what they did."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Index, text
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


class DateFormat(StrEnum):
    """How pages write a date."""

    DAY_FIRST = "day_first"
    """30 Nov 2026"""
    MONTH_FIRST = "month_first"
    """Nov 30, 2026"""
    ISO = "iso"
    """2026-11-30"""


class Workspace(Table, table=True):
    """People and the projects they share."""

    __tablename__ = "workspaces"

    id: str = Field(primary_key=True)
    name: str
    created_at: datetime = Field(sa_type=Instant)
    time_zone: str = Field(default="UTC", max_length=64, sa_column_kwargs={"server_default": "UTC"})
    """The IANA name of the zone in which pages show times."""
    date_format: DateFormat = Field(
        default=DateFormat.DAY_FIRST,
        sa_type=Word(DateFormat),
        sa_column_kwargs={"server_default": DateFormat.DAY_FIRST.value},
    )
    second_factor_required_at: datetime | None = Field(default=None, sa_type=Instant)
    """Since when nobody opens its projects without a second factor."""


class User(Table, table=True):
    """A person who can sign in."""

    __tablename__ = "users"

    id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    """In lower case; what one signs in with."""
    name: str
    password_hash: str
    """Empty for a person who never chose a password: no password matches it."""
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
    alerts_since: datetime | None = Field(default=None, sa_type=Instant)
    """Since when the person is mailed what blocks live mode."""


class Invitation(Table, table=True):
    """Somebody was asked to join a workspace, by a link that works once."""

    __tablename__ = "invitations"
    __table_args__ = (Index("ix_invitations_workspace_id", "workspace_id"),)

    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id")
    email: str
    """In lower case; whoever holds the link joins with this address."""
    role: Role = Field(sa_type=Word(Role))
    token_hash: str = Field(unique=True)
    """SHA-256 of the link's token, in hex."""
    invited_by: str | None = Field(default=None, foreign_key="users.id")
    """None for the command line."""
    created_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant)
    accepted_at: datetime | None = Field(default=None, sa_type=Instant)
    accepted_by: str | None = Field(default=None, foreign_key="users.id")
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)


class PasswordReset(Table, table=True):
    """A link that sets a new password, once."""

    __tablename__ = "password_resets"
    __table_args__ = (Index("ix_password_resets_user_id", "user_id"),)

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id")
    token_hash: str = Field(unique=True)
    """SHA-256 of the link's token, in hex."""
    issued_by: str | None = Field(default=None, foreign_key="users.id")
    """The colleague who made the link; None where the person asked for it, and for the command line."""
    created_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant)
    used_at: datetime | None = Field(default=None, sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)


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


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


_OF_A_PERSON = "workspace_id IS NULL AND project_id IS NULL"


class AuditEntry(Table, table=True):
    """Something a person, the command line or a machine did; rows are added, and none is changed.

    Erasing a customer is the exception: it replaces what names them.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_project_id_mode_at", "project_id", "mode", "at"),
        _partial("ix_audit_log_workspace_id_at", "workspace_id", "at", where="workspace_id IS NOT NULL"),
        _partial("ix_audit_log_by_action", "workspace_id", "action", "at", where="workspace_id IS NOT NULL"),
        _partial(
            "ix_audit_log_by_actor", "workspace_id", "actor_user_id", "at", where="workspace_id IS NOT NULL"
        ),
        _partial("ix_audit_log_by_mode", "workspace_id", "mode", "at", where="workspace_id IS NOT NULL"),
        _partial("ix_audit_log_of_people", "actor_user_id", "at", where=_OF_A_PERSON),
        _partial("ix_audit_log_of_people_by_action", "actor_user_id", "action", "at", where=_OF_A_PERSON),
        _partial(
            "ix_audit_log_about_people", "about", "at", where=f"{_OF_A_PERSON} AND actor_user_id IS NULL"
        ),
        _partial(
            "ix_audit_log_without_workspace",
            "at",
            where="workspace_id IS NULL AND project_id IS NOT NULL",
        ),
    )

    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=Instant)
    actor_user_id: str | None = None
    """None for the command line and for strangers."""
    ip: str | None = None
    action: str
    """Noun and past participle: `api_key.created`, `sign_in.failed`."""
    workspace_id: str | None = None
    """Also of what was done in a project; None for what people do in none, such as signing in."""
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
