"""Subjects: the merchant's customers, and the one place of their `subject_ref`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_side

EVENTS = "events"
"""The step of an erasure that searches the inbox."""

_UNFINISHED = text("finished_at IS NULL")


class Subject(Table, table=True):
    """One person or account of the merchant's, in one mode. Every other table holds its `sbj_` id."""

    __tablename__ = "subjects"
    __table_args__ = (
        # The hot path's way in: the ref is compared byte for byte within its project and mode, and the id
        # stands in the index itself, on SQLite because a table without row numbers is indexed by its key.
        Index(
            "uq_subjects_project_id_mode_subject_ref",
            "project_id",
            "mode",
            "subject_ref",
            unique=True,
            postgresql_include=["id"],
        ),
        Index("ix_subjects_project_id_mode_stripe_customer_id", "project_id", "mode", "stripe_customer_id"),
        {"sqlite_with_rowid": False},
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    subject_ref: str = Field(max_length=200)
    email: str | None = None
    stripe_customer_id: str | None = None
    search_text: str | None = None
    """The ref and the e-mail address as `rules.search_text` folds them; None where older code wrote it."""
    another_trial_allowed_at: datetime | None = Field(default=None, sa_type=Instant)
    """When an operator allowed a trial to a customer who had one."""
    another_trial_attempt_id: str | None = None
    """The last checkout that offered it; the allowance is used once that checkout was completed."""
    created_at: datetime = Field(sa_type=Instant)
    erased_at: datetime | None = Field(default=None, sa_type=Instant)
    """Since when the ref and the Stripe customer are hashes (`erased.erased_name`), and nobody's name."""


class OtherCustomer(Table, table=True):
    """A Stripe customer that a subject is beside the one that stands with it: it bought as each of them."""

    __tablename__ = "other_customers"
    __table_args__ = (
        of_same_side("subject_id", "subjects"),
        Index("ix_other_customers_subject_id", "project_id", "mode", "subject_id"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    stripe_customer_id: str = Field(primary_key=True)
    subject_id: str = Field(primary_key=True)


class Erasure(Table, table=True):
    """A customer who was erased, and how far the removal of what is stored of them is."""

    __tablename__ = "erasures"
    __table_args__ = (
        of_same_side("subject_id", "subjects"),
        Index("ix_erasures_due_at", "due_at", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    subject_id: str = Field(primary_key=True)
    requested_by: str | None = None
    """The user who asked for it; none for the command line."""
    requested_at: datetime = Field(sa_type=Instant)
    names_sealed: str | None = None
    """The ref, addresses and Stripe customers to look for, encrypted; none once everything is done."""
    round: int = 1
    """The second one, a while later, finds what was being written while the first one ran."""
    step: str = ""
    """The step under way, one of `forgetting.steps`."""
    last_key: str = ""
    """The last row of the step that was read; the next batch begins behind it."""
    due_at: datetime = Field(sa_type=Instant)
    leased_until: datetime | None = Field(default=None, sa_type=Instant)
    """While one process is at it."""
    finished_at: datetime | None = Field(default=None, sa_type=Instant)
