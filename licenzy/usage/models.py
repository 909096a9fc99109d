"""What was consumed of which pack, and what is set aside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_side
from licenzy.projects.models import DEFAULT_UNIT

_OPEN = text("closed_at IS NULL")


class LedgerRow(Table, table=True):
    """Units that one call took from one pack or window; a call that spans several has a row for each.

    Written once and never edited: the rows of a pack or window add up to its `used_units`.
    """

    __tablename__ = "usage_ledger"
    __table_args__ = (
        of_same_side("entitlement_id", "entitlements"),
        CheckConstraint("units > 0", name="units_positive"),
        # Sums over time read this alone; writing it costs a call on SQLite 2 to 4 % of its time.
        Index("ix_usage_ledger_used_at", "project_id", "mode", "used_at", "units"),
        # The table is its primary key: row numbers would be one more tree that every call writes.
        {"sqlite_with_rowid": False},
    )

    project_id: str = Field(primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    subject_id: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)
    """The `Licenzy-Request-Id` of the call; rises with time."""
    entitlement_id: str = Field(primary_key=True)
    window_starts_at: datetime | None = Field(default=None, sa_type=Instant)
    """The start of the window that it was taken from, where an entitlement includes units; none for packs."""
    unit: str | None = Field(default=None, max_length=32)
    """Of a window; a pack has its own."""
    units: int = Field(sa_type=BigInteger)
    reservation_id: str | None = None
    """The reservation whose commit this is."""
    used_at: datetime = Field(sa_type=Instant)


class Closing(StrEnum):
    """How a reservation came to its end."""

    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Reservation(Table, table=True):
    """Units of a subject set aside until they are committed, released, or the time is up."""

    __tablename__ = "usage_reservations"
    __table_args__ = (
        Index(
            "ix_usage_reservations_open_of_subject",
            "project_id",
            "mode",
            "subject_id",
            sqlite_where=_OPEN,
            postgresql_where=_OPEN,
        ),
        Index("ix_usage_reservations_open_until", "expires_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
        CheckConstraint("units > 0", name="units_positive"),
    )

    project_id: str = Field(primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    subject_id: str
    """Not a foreign key: to check it is to lock the subject after its packs, against the order of locks."""
    unit: str = Field(default=DEFAULT_UNIT, max_length=32, sa_column_kwargs={"server_default": DEFAULT_UNIT})
    """What is set aside; all of its packs consist of it."""
    units: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant)
    """From this instant on its units belong to everybody again, whether or not it has been closed."""
    closed_at: datetime | None = Field(default=None, sa_type=Instant)
    closed_as: Closing | None = Field(default=None, sa_type=Word(Closing))
    committed_units: int | None = Field(default=None, sa_type=BigInteger)
    answer: str | None = None
    """The JSON that closed it, given again to whoever asks the same again."""


class Hold(Table, table=True):
    """The part of a reservation that one pack or window carries; open ones add up to `reserved_units`."""

    __tablename__ = "usage_holds"
    __table_args__ = (
        of_same_side("reservation_id", "usage_reservations"),
        of_same_side("entitlement_id", "entitlements"),
        Index("ix_usage_holds_project_id_mode_entitlement_id", "project_id", "mode", "entitlement_id"),
        CheckConstraint("units > 0", name="units_positive"),
    )

    project_id: str = Field(primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    reservation_id: str = Field(primary_key=True)
    entitlement_id: str = Field(primary_key=True)
    window_starts_at: datetime | None = Field(default=None, sa_type=Instant)
    """The start of the window that carries it, of the reservation's unit; none for packs."""
    place: int
    """Which hold is committed first: the order in which the packs burn."""
    units: int = Field(sa_type=BigInteger)
