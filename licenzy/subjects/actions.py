"""Verbs on subjects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select
from sqlalchemy import select as core_select
from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.reads import read_one, read_row
from licenzy.db.upsert import change_row, insert_unless_there, table_of
from licenzy.errors import CustomerErased
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.erased import is_erased_name, is_erased_ref
from licenzy.subjects.models import OtherCustomer, Subject
from licenzy.subjects.queries import subject_by_ref
from licenzy.subjects.rules import search_text


def ensure_subject(db: Session, scope: Scope, *, subject_ref: str, now: datetime) -> Subject:
    """The subject with this ref, made when it is new. Raises CustomerErased."""
    found = subject_by_ref(db, scope, subject_ref=subject_ref)
    if found is None:
        if is_erased_ref(db, scope, subject_ref=subject_ref):
            raise CustomerErased
        insert_unless_there(
            db,
            Subject,
            {
                "id": new_id("sbj"),
                "project_id": scope.project_id,
                "mode": scope.mode,
                "subject_ref": subject_ref,
                "search_text": search_text(subject_ref, None),
                "created_at": now,
            },
        )
        found = subject_by_ref(db, scope, subject_ref=subject_ref)
    assert found is not None
    if found.erased_at is not None:
        raise CustomerErased
    return found


@read_one
def lock_subject(scope: Scope, *, subject_id: str) -> SelectOfScalar[Subject]:
    """The subject, held against other writers until this transaction ends.

    Not against rows that name it: two transactions that have each written a purchase or an attempt of the
    subject's would wait for each other.
    """
    return (
        select(Subject)
        .where(Subject.project_id == scope.project_id, Subject.mode == scope.mode, Subject.id == subject_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


class Customer(NamedTuple):
    """A held subject, and who it is at Stripe."""

    id: str
    subject_ref: str
    stripe_customer_id: str | None
    email: str | None
    search_text: str | None


def lock_customer(db: Session, scope: Scope, *, subject_id: str) -> Customer:
    """The same lock, for who needs no more of the subject than this."""
    row = _locked_subject(db, scope, subject_id=subject_id)
    assert row is not None
    return Customer._make(row)


@read_row
def _locked_subject(scope: Scope, *, subject_id: str) -> Select[Any]:
    columns = table_of(Subject).c
    return (
        core_select(*(columns[name] for name in Customer._fields))
        .where(columns.project_id == scope.project_id, columns.mode == scope.mode, columns.id == subject_id)
        .with_for_update(key_share=True)
    )


def lock_customers(db: Session, scope: Scope, *, subject_ids: Iterable[str]) -> None:
    """The same lock on several subjects, in the order of their key."""
    columns = table_of(Subject).c
    these = (
        core_select(columns.id)
        .where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.id.in_(list(subject_ids)),
        )
        .order_by(columns.id)
        .with_for_update(key_share=True)
    )
    db.connection().execute(these).all()


def link_customer(
    db: Session, scope: Scope, subject: Customer, *, stripe_customer_id: str | None, email: str | None
) -> Customer:
    """Remember the Stripe customer and address that a completed checkout told of a held subject.

    Raises CustomerErased.
    """
    if is_erased_name(subject.subject_ref):
        raise CustomerErased
    email = email or subject.email
    known = subject._replace(
        stripe_customer_id=stripe_customer_id or subject.stripe_customer_id,
        email=email,
        # Compared as well: an older version's process writes the address alone.
        search_text=search_text(subject.subject_ref, email),
    )
    if known != subject:
        columns = {
            "stripe_customer_id": known.stripe_customer_id,
            "email": known.email,
            "search_text": known.search_text,
        }
        change_row(
            db, Subject, {"project_id": scope.project_id, "mode": scope.mode, "id": subject.id}, columns
        )
    return known


def forget_customer(db: Session, scope: Scope, *, subject_id: str) -> None:
    """Stripe no longer knows the subject's customer; the next checkout makes a new one."""
    subject = lock_subject(db, scope, subject_id=subject_id)
    subject.stripe_customer_id = None
    subject.search_text = search_text(subject.subject_ref, subject.email)
    db.flush()


def add_customer(db: Session, scope: Scope, *, subject_id: str, stripe_customer_id: str) -> None:
    """Remember that a subject bought as this Stripe customer, too."""
    row = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "stripe_customer_id": stripe_customer_id,
        "subject_id": subject_id,
    }
    insert_unless_there(db, OtherCustomer, row)
