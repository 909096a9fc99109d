"""How far each connection has been reconciled."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from licenzy.db.columns import Instant
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
    asked_at: datetime | None = Field(default=None, sa_type=Instant)
    """When a person asked for a whole walk that has not been done yet."""
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    """While one worker walks, the others leave the account alone."""
    report: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
