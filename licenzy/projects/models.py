"""Projects: the runtime boundary that owns everything sold, in two modes that never mix."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, false
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table

DEFAULT_UNIT = "units"
"""What usage packs consist of, and calls draw, where nobody names a unit."""


class Project(Table, table=True):
    """A project of a workspace."""

    __tablename__ = "projects"

    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id", index=True)
    name: str
    created_at: datetime = Field(sa_type=Instant)
    adopt_known_customers: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether a subscription made past Licenzy counts by itself for the one subject that is its customer."""
    archived_at: datetime | None = Field(default=None, sa_type=Instant)
    """Since when it is kept for reading alone: its API keys were revoked and its endpoints disabled."""
    deleted_at: datetime | None = Field(default=None, sa_type=Instant)
    """Since when it exists for nobody any more, and its rows are being removed."""


class ProjectSide(Table, table=True):
    """What a project has chosen for one of its modes: where checkouts return to, what calls draw."""

    __tablename__ = "project_sides"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    success_url: str | None = None
    cancel_url: str | None = None
    redirect_hosts: list[str] = Field(default=[], sa_type=JSON)
    """Hosts that redirect URLs may name; empty means any."""
    default_unit: str = Field(
        default=DEFAULT_UNIT, max_length=32, sa_column_kwargs={"server_default": DEFAULT_UNIT}
    )
    """The unit that a call draws which names none."""
    default_unit_used_at: datetime | None = Field(default=None, sa_type=Instant)
    """When the first call named none. From then on the default unit is fixed."""
