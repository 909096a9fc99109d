"""Reads of subjects."""

from __future__ import annotations

from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_first
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject


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

    `search` is a part of the ref or of the e-mail address, whatever the case, or a whole Stripe customer id.
    """
    statement = select(Subject).where(Subject.project_id == scope.project_id, Subject.mode == scope.mode)
    if search:
        statement = statement.where(
            or_(
                col(Subject.subject_ref).icontains(search, autoescape=True),
                col(Subject.email).icontains(search, autoescape=True),
                Subject.stripe_customer_id == search,
            )
        )
    return read_page(db, statement, col(Subject.id), place)
