"""What was let happen in the lab."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_side


class LabStep(Table, table=True):
    """One thing that somebody let happen to a purchase at the sandbox."""

    __tablename__ = "lab_steps"
    __table_args__ = (
        of_same_side("attempt_id", "checkout_attempts"),
        Index("ix_lab_steps_project_id_mode_attempt_id", "project_id", "mode", "attempt_id"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    attempt_id: str
    action: str
    """A name of `rules.ACTIONS`."""
    delivery: str
    """How the events were sent, one of `rules.DELIVERIES`."""
    detail: str | None = None
    """What the action's name does not say, such as the plan changed to."""
    events: list[dict[str, Any]] = Field(default=[], sa_type=JSON)
    """What Stripe gave off: id, type, how often it was sent, and how often it had been seen before."""
    before: dict[str, Any] = Field(sa_type=JSON)
    """What the subject held just before, a `rules.Holdings`."""
    performed_at: datetime = Field(sa_type=Instant)
    """When it was asked for."""
    progress: int | None = Field(default=None, index=True)
    """How many percent of the way the clock has moved; none for what is over, and for other steps."""
    finished_at: datetime | None = Field(default=None, sa_type=Instant)
    """When a move of the clock was over; none for other steps, which are over at once."""
    problem: str | None = None
    """Why a move of the clock ended before its time."""
