"""Idempotency keys: the first outcome of a call, kept to be given again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table

CHECKOUT = "checkout/session"
"""The endpoint whose keys are forgotten one day; keys of consumption never are."""
_FORGOTTEN = text(f"endpoint = '{CHECKOUT}'")


class IdempotencyKey(Table, table=True):
    """One key of one endpoint: running under a lease, or finished with its stored outcome."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        # Of those keys only that are ever looked for by age: consumption would pay for an index of all.
        Index(
            "ix_idempotency_keys_forgotten_by_age",
            "created_at",
            sqlite_where=_FORGOTTEN,
            postgresql_where=_FORGOTTEN,
        ),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    endpoint: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    body_hash: str
    holder: str | None = None
    """A random word of the call that runs now; none once it has ended."""
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    attempt_id: str | None = None
    """The checkout attempt this key stays bound to, even after a refusal has freed it."""
    response_status: int | None = None
    response_body: str | None = None
    created_at: datetime = Field(sa_type=Instant)
