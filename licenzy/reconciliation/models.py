"""How far each connection has been reconciled."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class Reconciliation(Table, table=True):
    """The last successful walk of one connection's account; its cursor moves on success only."""

    __tablename__ = "reconciliations"

    connection_id: str = Field(foreign_key="connections.id", primary_key=True)
    last_event_id: str | None = None
    """The newest event that was walked; the next walk begins behind it."""
    reconciled_to: datetime | None = Field(default=None, sa_type=Instant)
    """Stripe's time up to which everything is known to have been seen."""
    ran_at: datetime | None = Field(default=None, sa_type=Instant)
    """When the last successful walk began."""
    requested_at: datetime | None = Field(default=None, sa_type=Instant)
    """When a person asked for a whole walk that has not been done yet."""
    requested_by: str | None = None
    """Who asked for it."""
    step: str | None = None
    """What the walk under way is looking at; none while nobody walks."""
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    """While one worker walks, the others leave the account alone."""
    report: dict[str, Any] = Field(default={}, sa_type=JSON)


class FinishedWalk(Table, table=True):
    """A walk that came to its end, well or not; the newest of each connection are kept."""

    __tablename__ = "finished_walks"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    connection_id: str = Field(foreign_key="connections.id", index=True)
    full: bool
    """Whether it looked at the present state of everything known, or only at events."""
    requested_by: str | None = None
    """Who asked for it; none for one that came by itself, or from the command line."""
    began_at: datetime = Field(sa_type=Instant)
    ended_at: datetime = Field(sa_type=Instant)
    problem: str | None = None
    """Why it did not come to its end."""
    report: dict[str, Any] = Field(default={}, sa_type=JSON)
