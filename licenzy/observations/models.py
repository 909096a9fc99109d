"""What was seen of Stripe and of traffic, each with its time."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class Noticed(StrEnum):
    """What requests are seen to do."""

    PRICE_ID_SENT = "price_id_sent"
    OTHER_MODE_PRODUCT = "other_mode_product"
    BROWSER_CALL = "browser_call"
    REVOKED_KEY_CALL = "revoked_key_call"
    SIGNATURE_FAILED = "signature_failed"
    SIGNATURE_AMBIGUOUS = "signature_ambiguous"
    CREDENTIAL_REFUSED = "credential_refused"


class Sighting(Table, table=True):
    """How often something was noticed on one day (in UTC), about one key, code or reason."""

    __tablename__ = "sightings"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    kind: Noticed = Field(sa_type=Word(Noticed), primary_key=True)
    about: str = Field(primary_key=True)
    day: int = Field(primary_key=True)
    """Days since 1970."""
    times: int
    last_at: datetime = Field(sa_type=Instant)
    detail: str = ""
    """The last one's own words."""


class CheckCount(Table, table=True):
    """How many access checks were answered in one hour; whom they were about is not kept."""

    __tablename__ = "access_checks"
    __table_args__ = ({"sqlite_with_rowid": False},)

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    hour: int = Field(primary_key=True)
    """Whole hours since 1970, by the installation's own clock."""
    allowed: int = Field(sa_type=BigInteger)
    denied: int = Field(sa_type=BigInteger)


class StripeProbe(Table, table=True):
    """What Stripe last said about one connection, and when it is to be asked again."""

    __tablename__ = "stripe_probes"
    __table_args__ = (Index("ix_stripe_probes_due_at", "due_at"),)

    connection_id: str = Field(foreign_key="connections.id", primary_key=True)
    project_id: str = Field(foreign_key="projects.id")
    mode: Mode = Field(sa_type=Word(Mode))
    due_at: datetime = Field(sa_type=Instant)
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    probed_at: datetime | None = Field(default=None, sa_type=Instant)
    """When the answers below were given."""
    answers: dict[str, Any] = Field(default={}, sa_type=JSON)
    problem: str | None = None
    """Why Stripe could not be asked the last time; the earlier answers stand."""


class ResolvedFinding(Table, table=True):
    """Somebody said that a finding about traffic is mended: what was seen until then counts no more."""

    __tablename__ = "resolved_findings"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    code: str = Field(primary_key=True)
    resolved_at: datetime = Field(sa_type=Instant)
