"""Reads of subjects."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Subquery, union
from sqlalchemy import select as core_select
from sqlmodel import Session, and_, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_all, read_first
from licenzy.db.upsert import table_of
from licenzy.projects.scope import Scope
from licenzy.subjects.models import OtherCustomer, Subject
from licenzy.subjects.rules import folded


@read_first
def subject_by_ref(scope: Scope, *, subject_ref: str) -> SelectOfScalar[Subject]:
    """The subject with exactly this ref, byte for byte."""
    return select(Subject).where(
        Subject.project_id == scope.project_id, Subject.mode == scope.mode, Subject.subject_ref == subject_ref
    )


@read_first
def subject_by_id(scope: Scope, *, subject_id: str) -> SelectOfScalar[Subject]:
    """The subject with this id, of this project and mode."""
    return select(Subject).where(
        Subject.project_id == scope.project_id, Subject.mode == scope.mode, Subject.id == subject_id
    )


def subjects_page(db: Session, scope: Scope, *, search: str = "", place: Place = NEWEST) -> Page[Subject]:
    """The subjects of one side, newest first.

    `search` is a part of the ref or of the e-mail address, however it is cased and accented, or a whole
    Stripe customer id. It reads the side's subjects one by one until a page is full: about 40 ms for 100,000.
    """
    statement = select(Subject).where(Subject.project_id == scope.project_id, Subject.mode == scope.mode)
    if search:
        statement = statement.where(_matches(search))
    return read_page(db, statement, col(Subject.id), place)


@read_all
def subjects_of_stripe_customer(
    scope: Scope, *, stripe_customer_id: str, limit: int
) -> SelectOfScalar[Subject]:
    """The subjects that are this customer at Stripe, newest first: mostly one."""
    links = customer_links(scope, customers=[stripe_customer_id])
    return (
        select(Subject)
        .where(
            Subject.project_id == scope.project_id,
            Subject.mode == scope.mode,
            col(Subject.id).in_(core_select(links.c.subject_id)),
        )
        .order_by(col(Subject.id).desc())
        .limit(limit)
    )


def customer_links(scope: Scope, *, customers: Collection[str]) -> Subquery:
    """Each of these Stripe customers with the subjects that it is, each pair once: `customer`, `subject_id`.

    A subject has the customer that stands with it, and each other one that it bought as.
    """
    subjects, others = table_of(Subject).c, table_of(OtherCustomer).c
    first = core_select(subjects.stripe_customer_id.label("customer"), subjects.id.label("subject_id")).where(
        subjects.project_id == scope.project_id,
        subjects.mode == scope.mode,
        subjects.stripe_customer_id.in_(customers),
    )
    further = core_select(others.stripe_customer_id, others.subject_id).where(
        others.project_id == scope.project_id,
        others.mode == scope.mode,
        others.stripe_customer_id.in_(customers),
    )
    # Two searches by their indexes: with `or`, SQLite reads all subjects of the side.
    return union(first, further).subquery("links")


@read_all
def other_customers_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[str]:
    """The ids of further Stripe customers that the subject bought as."""
    return select(OtherCustomer.stripe_customer_id).where(
        OtherCustomer.project_id == scope.project_id,
        OtherCustomer.mode == scope.mode,
        OtherCustomer.subject_id == subject_id,
    )


def _matches(search: str) -> ColumnElement[bool]:
    text, stored = folded(search), col(Subject.search_text)
    unfolded = or_(
        col(Subject.subject_ref).icontains(search, autoescape=True),
        col(Subject.email).icontains(search, autoescape=True),
    )
    # An older version's process, while this one is being rolled out, writes rows and addresses alone.
    is_outdated = or_(stored.is_(None), and_(col(Subject.email).is_not(None), stored.endswith("\n")))
    return or_(
        stored.contains(text, autoescape=True) if text else unfolded,
        and_(is_outdated, unfolded),
        Subject.stripe_customer_id == search,
    )
