"""Reads of subjects."""

from __future__ import annotations

from sqlalchemy import ColumnElement, union
from sqlmodel import Session, and_, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_all, read_first
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
    others = select(OtherCustomer.subject_id).where(
        OtherCustomer.project_id == scope.project_id,
        OtherCustomer.mode == scope.mode,
        OtherCustomer.stripe_customer_id == stripe_customer_id,
    )
    # Two searches by their indexes: with `or`, SQLite reads all subjects of the side.
    linked = select(Subject.id).where(
        Subject.project_id == scope.project_id,
        Subject.mode == scope.mode,
        Subject.stripe_customer_id == stripe_customer_id,
    )
    return (
        select(Subject)
        .where(
            Subject.project_id == scope.project_id,
            Subject.mode == scope.mode,
            col(Subject.id).in_(union(linked, others)),
        )
        .order_by(col(Subject.id).desc())
        .limit(limit)
    )


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
