"""Imports of an account's existing purchases, and what each purchase would become."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Index, text
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table

_RUNNING = text("ended_at IS NULL")
_TO_WRITE = text("applied_at IS NULL")


class ImportStep(StrEnum):
    """How far an import is."""

    SUBSCRIPTIONS = "subscriptions"
    """It reads the account's subscriptions."""
    SESSIONS = "sessions"
    """It reads the account's Checkout Sessions."""
    MATCH = "match"
    """It says of each purchase whose it is."""
    PREVIEW = "preview"
    """Everything is read and matched; it waits for a person."""
    RUN = "run"
    """It writes what was matched."""
    DONE = "done"
    STOPPED = "stopped"
    """A person ended it before its end; what it had written stays."""


READING = frozenset({ImportStep.SUBSCRIPTIONS, ImportStep.SESSIONS})
UNDER_WAY = READING | {ImportStep.MATCH, ImportStep.RUN}
"""The steps that need nobody."""


class ImportOutcome(StrEnum):
    """What the import makes of a purchase."""

    MATCHED = "matched"
    AMBIGUOUS = "ambiguous"
    """Several customers may be meant, or one that only an e-mail address proposes: a person decides."""
    UNMATCHED = "unmatched"
    """Nothing says whose it is."""
    PRICE_NOT_MAPPED = "price_not_mapped"
    """None of its prices is a product's."""
    HERE_ALREADY = "here_already"
    ENDED = "ended"
    """It is over, and ended ones were not asked for."""


class Import(Table, table=True):
    """One import of the account behind a connection."""

    __tablename__ = "imports"
    __table_args__ = (
        Index(
            "uq_imports_open",
            "project_id",
            "mode",
            unique=True,
            sqlite_where=_RUNNING,
            postgresql_where=_RUNNING,
        ),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    connection_id: str = Field(foreign_key="connections.id")
    account_id: str | None = None
    """Stripe's id of the account that is read; None where the key may not read it."""
    step: ImportStep = Field(default=ImportStep.SUBSCRIPTIONS, sa_type=Word(ImportStep))
    metadata_keys: list[str] = Field(default=[], sa_type=JSON)
    """Keys of metadata whose value is a `subject_ref`, the first to answer wins."""
    with_ended: bool = False
    """Whether subscriptions that are over are brought along, so that their trials are remembered."""
    payments_since: datetime | None = Field(default=None, sa_type=Instant)
    """Since when paid one-time sessions are brought along; none brings none."""
    announced: bool = False
    """Whether endpoints are told, by `entitlement.updated` with the reason `imported`."""
    after: str | None = None
    """The last object of the list that was read: the next page begins behind it."""
    sessions_from: datetime | None = Field(default=None, sa_type=Instant)
    """When the oldest of the subscriptions was made: no session of theirs is older."""
    seen: int = 0
    """How many objects of the list under way have been read, or how many purchases matched or written."""
    rows: int = 0
    """How many purchases were found: the number that the next one has."""
    problem: str | None = None
    """Why the last try could not go on; it is tried again."""
    tries: int = 0
    next_try_at: datetime | None = Field(default=None, sa_type=Instant)
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    started_by: str | None = None
    started_at: datetime = Field(sa_type=Instant)
    run_by: str | None = None
    run_at: datetime | None = Field(default=None, sa_type=Instant)
    """When a person let it write."""
    ended_at: datetime | None = Field(default=None, sa_type=Instant)


class ImportFile(Table, table=True):
    """A CSV that a person gave to an import."""

    __tablename__ = "import_files"

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    import_id: str = Field(primary_key=True)
    kind: str = Field(max_length=16, primary_key=True)
    """`map`, which names the customers, or `compare`, the merchant's list of who has access."""
    name: str
    content: str
    version: int = 1
    """How often such a file was given."""


class ImportRow(Table, table=True):
    """One purchase of the account: what Stripe says of it, whose it is, and what the import makes of it."""

    __tablename__ = "import_rows"
    __table_args__ = (
        Index("ix_import_rows_outcome", "project_id", "mode", "import_id", "outcome", "number"),
        Index(
            "ix_import_rows_to_write",
            "project_id",
            "mode",
            "import_id",
            "outcome",
            "number",
            sqlite_where=_TO_WRITE,
            postgresql_where=_TO_WRITE,
        ),
        Index("ix_import_rows_number", "project_id", "mode", "import_id", "number"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    import_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    """The purchase's: a subscription (`sub_…`) or a paid session (`cs_…`)."""
    number: int
    """Its place in the account, the newest first."""
    status: str
    """The subscription's own, or the session's payment status."""
    is_over: bool = False
    made_at: datetime = Field(sa_type=Instant)
    stripe_customer_id: str | None = None
    email: str | None = None
    items: list[dict[str, Any]] = Field(default=[], sa_type=JSON)
    """`{price, product, quantity}` of each item or line."""
    named: dict[str, Any] = Field(default={}, sa_type=JSON)
    """What may name its customer: metadata of its `subscription` and `customer`, and of its
    session the id and the `reference`."""
    found: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    """What Stripe said of it, as it will be recorded; gone once it was."""

    outcome: ImportOutcome = Field(default=ImportOutcome.UNMATCHED, sa_type=Word(ImportOutcome))
    reason: str | None = None
    """Why it is ambiguous, or unmatched although something names a customer."""
    subject_ref: str | None = None
    matched_by: str | None = None
    candidates: list[str] = Field(default=[], sa_type=JSON)
    """The refs that a person may choose from."""
    used: dict[str, int] = Field(default={}, sa_type=JSON)
    """Units that were used of it elsewhere, by unit."""
    chosen: bool = False
    """Whether a person said whose it is."""
    left_out: bool = False
    """Whether a person left it out by name."""
    is_newest: bool = False
    """Whether it is the newest live purchase of its customer: that one's Stripe customer is kept."""
    applied_at: datetime | None = Field(default=None, sa_type=Instant)
    result: str | None = None
    """What became of it when the import wrote: `imported`, or why it was left out."""
