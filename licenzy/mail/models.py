"""Mail that waits to be sent, and what became of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field

from licenzy.db.columns import Instant
from licenzy.db.tables import Table

_WAITING = text("sent_at IS NULL AND dead_at IS NULL")


class Mail(Table, table=True):
    """One message to one person."""

    __tablename__ = "mails"
    __table_args__ = (
        Index("ix_mails_next_try_at", "next_try_at", sqlite_where=_WAITING, postgresql_where=_WAITING),
    )

    id: str = Field(primary_key=True)
    to_email: str
    subject: str
    body: str | None = None
    """Plain text, encrypted: it may hold a link that signs somebody in. None once it was sent or failed."""
    created_at: datetime = Field(sa_type=Instant)
    tries: int = 0
    next_try_at: datetime = Field(sa_type=Instant)
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    sent_at: datetime | None = Field(default=None, sa_type=Instant)
    dead_at: datetime | None = Field(default=None, sa_type=Instant)
    """When it failed permanently."""
    problem: str | None = None
    """What the server answered to the last try."""
