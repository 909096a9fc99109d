"""Verbs on subjects."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.db.reads import read_one
from licenzy.db.upsert import insert_unless_there
from licenzy.kit.ids import new_id
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_ref


def ensure_subject(db: Session, *, project_id: str, mode: Mode, subject_ref: str, now: datetime) -> Subject:
    """The subject with this ref, made when it is new."""
    found = subject_by_ref(db, project_id=project_id, mode=mode, subject_ref=subject_ref)
    if found is None:
        insert_unless_there(
            db,
            Subject,
            {
                "id": new_id("sbj"),
                "project_id": project_id,
                "mode": mode,
                "subject_ref": subject_ref,
                "created_at": now,
            },
        )
        found = subject_by_ref(db, project_id=project_id, mode=mode, subject_ref=subject_ref)
    assert found is not None
    return found


@read_one
def lock_subject(*, project_id: str, mode: Mode, subject_id: str) -> SelectOfScalar[Subject]:
    """The subject, held against other writers until this transaction ends."""
    return (
        select(Subject)
        .where(Subject.project_id == project_id, Subject.mode == mode, Subject.id == subject_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def link_customer(subject: Subject, *, stripe_customer_id: str | None, email: str | None) -> None:
    """Remember the Stripe customer and address that a completed checkout told.

    The subject is locked. It is written with whatever its session reads or writes next.
    """
    if stripe_customer_id:
        subject.stripe_customer_id = stripe_customer_id
    if email:
        subject.email = email


def forget_customer(db: Session, *, project_id: str, mode: Mode, subject_id: str) -> None:
    """Stripe no longer knows the subject's customer; the next checkout makes a new one."""
    subject = lock_subject(db, project_id=project_id, mode=mode, subject_id=subject_id)
    subject.stripe_customer_id = None
    db.flush()
