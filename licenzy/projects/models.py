"""Projects: the runtime boundary that owns everything sold, in two modes that never mix."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class Project(Table, table=True):
    """A project of a workspace."""

    __tablename__ = "projects"

    id: str = Field(primary_key=True)
    workspace_id: str = Field(foreign_key="workspaces.id", index=True)
    name: str
    created_at: datetime = Field(sa_type=Instant)


class ProjectSide(Table, table=True):
    """What a project has chosen for one of its modes: where checkouts return to."""

    __tablename__ = "project_sides"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    success_url: str | None = None
    cancel_url: str | None = None
    redirect_hosts: list[str] = Field(default=[], sa_type=JSON)
    """Hosts that redirect URLs may name; empty means any."""
