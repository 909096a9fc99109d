"""What blocks a side of a project, from when it was seen until it was gone."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class Alert(Table, table=True):
    """One finding that blocks, about one object."""

    __tablename__ = "alerts"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    code: str = Field(primary_key=True)
    about: str = Field(primary_key=True)
    """The kind and the id of the object; empty for a finding about none."""
    first_at: datetime = Field(sa_type=Instant)
    mailed_at: datetime | None = Field(default=None, sa_type=Instant)
    cleared_at: datetime | None = Field(default=None, sa_type=Instant)


class AlertCheck(Table, table=True):
    """When a side is checked next for what blocks it."""

    __tablename__ = "alert_checks"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    next_at: datetime = Field(sa_type=Instant)
