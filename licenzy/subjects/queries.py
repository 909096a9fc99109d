"""Reads of subjects."""

from __future__ import annotations

from sqlmodel import Session, select

from licenzy.alignment.modes import Mode
from licenzy.subjects.models import Subject


def subject_by_ref(db: Session, *, project_id: str, mode: Mode, subject_ref: str) -> Subject | None:
    """The subject with exactly this ref, byte for byte."""
    return db.exec(
        select(Subject).where(
            Subject.project_id == project_id, Subject.mode == mode, Subject.subject_ref == subject_ref
        )
    ).first()


def subject_by_id(db: Session, *, project_id: str, mode: Mode, subject_id: str) -> Subject | None:
    """The subject with this id, of this project and mode."""
    return db.exec(
        select(Subject).where(
            Subject.project_id == project_id, Subject.mode == mode, Subject.id == subject_id
        )
    ).first()
