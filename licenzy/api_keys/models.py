"""API keys of the runtime API: stored as hashes, shown once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class KeyScope(StrEnum):
    """What a key may call, and what a call needs."""

    RUNTIME = "runtime"
    """Every call of the runtime API, those that read included."""
    READ = "read"
    """The calls that change nothing."""
    AUDIT = "audit"
    """The audit log, and nothing else."""


class ApiKey(Table, table=True):
    """One key of a project and mode; what it opened is known by hash alone."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_project_id_mode", "project_id", "mode"),)

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="projects.id")
    mode: Mode = Field(sa_type=Word(Mode))
    name: str
    key_hash: str = Field(unique=True)
    """SHA-256 of the whole key, in hex."""
    last_four: str
    created_by: str | None = None
    """The user who made it; none for the command line."""
    created_at: datetime = Field(sa_type=Instant)
    expires_at: datetime | None = Field(default=None, sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)
    last_used_at: datetime | None = Field(default=None, sa_type=Instant)
    scopes: str = Field(default="runtime", sa_column_kwargs={"server_default": "runtime"})
    """What it may call, separated by spaces: `runtime`, `read`, `audit`."""
    replaced_by: str | None = None
    """The key that was made to take its place."""


class ApiKeyRefusal(Table, table=True):
    """A call with a known key that was refused lately; without its body, and without what its path names."""

    __tablename__ = "api_key_refusals"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    key_id: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=Instant)
    status: int
    code: str
    method: str
    path: str
    """The route, such as `/v1/entitlements/{subject_ref}`: no customer is named in it."""
