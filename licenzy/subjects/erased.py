"""Customers who were erased: what stands in place of their names, and how they are known again."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select
from sqlalchemy import select as core_select
from sqlmodel import Session

from licenzy.db.reads import read_row, read_rows
from licenzy.db.unit_of_work import NAME_KEY
from licenzy.db.upsert import table_of
from licenzy.projects.scope import Scope
from licenzy.subjects.models import EVENTS, Erasure, OtherCustomer, Subject

_ERASED = re.compile(r"erased_[0-9a-f]{40}")
_SUBJECTS, _OTHERS, _ERASURES = table_of(Subject).c, table_of(OtherCustomer).c, table_of(Erasure).c


def erased_name(db: Session, scope: Scope, name: str) -> str:
    """What stands in place of a ref or a Stripe customer: the same for the same name, project and mode.

    Nobody can tell the name from it without the secret key of the installation.
    """
    message = "\0".join((scope.project_id, scope.mode, name)).encode("utf-8", "surrogatepass")
    return f"erased_{hmac.digest(db.info[NAME_KEY], message, 'sha256').hex()[:40]}"


def is_erased_name(name: str) -> bool:
    """Whether it stands in place of a name."""
    return _ERASED.fullmatch(name) is not None


def has_erased(db: Session, scope: Scope) -> bool:
    """Whether anybody of this side was erased."""
    return _any_erased(db, scope) is not None


@read_row
def _any_erased(scope: Scope) -> Select[Any]:
    return (
        core_select(_ERASURES.subject_id)
        .where(_ERASURES.project_id == scope.project_id, _ERASURES.mode == scope.mode)
        .limit(1)
    )


def is_erased_ref(db: Session, scope: Scope, *, subject_ref: str) -> bool:
    """Whether a customer with this ref was erased."""
    return bool(_of_refs(db, scope, refs=[erased_name(db, scope, subject_ref)]))


def subjects_by_names(
    db: Session, scope: Scope, *, refs: Iterable[str], customers: Iterable[str]
) -> Mapping[str, set[str]]:
    """By ref and by Stripe customer the subjects that have it now, or had it when they were erased."""
    found: dict[str, set[str]] = {}
    for names, read in ((set(refs), _by_refs), (set(customers), _by_customers)):
        stored = {name: name for name in names} | {erased_name(db, scope, name): name for name in names}
        for name, subject_id in read(db, scope, stored) if stored else ():
            found.setdefault(stored[name], set()).add(subject_id)
    return found


def _by_refs(db: Session, scope: Scope, refs: Collection[str]) -> Iterable[Any]:
    return _of_refs(db, scope, refs=list(refs))


def _by_customers(db: Session, scope: Scope, customers: Collection[str]) -> Iterable[Any]:
    yield from _first_customers(db, scope, customers=list(customers))
    yield from _other_customers(db, scope, customers=list(customers))


@read_rows
def _of_refs(scope: Scope, *, refs: Collection[str]) -> Select[Any]:
    return core_select(_SUBJECTS.subject_ref, _SUBJECTS.id).where(
        _SUBJECTS.project_id == scope.project_id,
        _SUBJECTS.mode == scope.mode,
        _SUBJECTS.subject_ref.in_(refs),
    )


@read_rows
def _first_customers(scope: Scope, *, customers: Collection[str]) -> Select[Any]:
    return core_select(_SUBJECTS.stripe_customer_id, _SUBJECTS.id).where(
        _SUBJECTS.project_id == scope.project_id,
        _SUBJECTS.mode == scope.mode,
        _SUBJECTS.stripe_customer_id.in_(customers),
    )


@read_rows
def _other_customers(scope: Scope, *, customers: Collection[str]) -> Select[Any]:
    return core_select(_OTHERS.stripe_customer_id, _OTHERS.subject_id).where(
        _OTHERS.project_id == scope.project_id,
        _OTHERS.mode == scope.mode,
        _OTHERS.stripe_customer_id.in_(customers),
    )


def search_events_again(db: Session, scope: Scope, *, subject_id: str, due_at: datetime) -> None:
    """Have the inbox searched for more of an erased customer, unless a round that does so is to come."""
    erasure = db.get_one(
        Erasure,
        (scope.project_id, scope.mode, subject_id),
        with_for_update=True,
        populate_existing=True,
    )
    if erasure.finished_at is not None:
        erasure.round, erasure.finished_at, erasure.due_at = 2, None, due_at
        erasure.step, erasure.last_key = EVENTS, ""
    elif erasure.round == 2 and erasure.leased_until is not None:
        erasure.step, erasure.last_key = EVENTS, ""
    db.flush()


def erased_among(db: Session, scope: Scope, *, subject_ids: Collection[str]) -> set[str]:
    """Those of these subjects who were erased."""
    return {row.subject_id for row in _erased_among(db, scope, subject_ids=list(subject_ids))}


@read_rows
def _erased_among(scope: Scope, *, subject_ids: Collection[str]) -> Select[Any]:
    return core_select(_ERASURES.subject_id).where(
        _ERASURES.project_id == scope.project_id,
        _ERASURES.mode == scope.mode,
        _ERASURES.subject_id.in_(subject_ids),
    )
