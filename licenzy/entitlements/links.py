"""Which purchase a payment belongs to, whichever of the two is told first.

Two transactions may tell the two at once and neither would see the other. Both therefore write the
payment's one row, where the second waits for the first: the purchase's key, or that a fact waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session

from licenzy.db.reads import read_row, read_rows
from licenzy.db.upsert import change_row, insert_new, insert_or_change, insert_unless_there, table_of
from licenzy.entitlements.models import Fact, PaymentLink, Purchase
from licenzy.entitlements.projected import payment_refs
from licenzy.projects.scope import Scope

_LINKS, _FACTS = table_of(PaymentLink).c, table_of(Fact).c
_AWAITED = ""
"""Stands for the purchase of a payment that facts wait for."""


def key_behind(project_id: Any, mode: Any, refs: Any) -> Select[Any]:
    """Reads the key of the purchase that any of these payments, charges or invoices belongs to.

    No row when it is not known yet. A statement, for who reads other things along with it.
    """
    return (
        select(_LINKS.purchase_key)
        .where(
            _LINKS.project_id == project_id,
            _LINKS.mode == mode,
            _LINKS.ref.in_(refs),
            _LINKS.purchase_key != _AWAITED,
        )
        .order_by(_LINKS.ref)
        .limit(1)
    )


def is_known_here(db: Session, scope: Scope, *, refs: Sequence[str]) -> bool:
    """Whether any of these is a purchase that has a subject, or a payment of any purchase."""
    found = _purchase_named(db, scope, refs=refs) or _known_payment(db, scope, refs=refs)
    return found is not None


@read_row
def _purchase_named(scope: Scope, *, refs: Sequence[str]) -> Select[Any]:
    columns = table_of(Purchase).c
    named = select(columns.key).where(
        columns.project_id == scope.project_id,
        columns.mode == scope.mode,
        columns.key.in_(refs),
        columns.subject_id.is_not(None),
    )
    return named.limit(1)


@read_row
def _known_payment(scope: Scope, *, refs: Sequence[str]) -> Select[Any]:
    return key_behind(scope.project_id, scope.mode, refs)


def await_purchase(db: Session, scope: Scope, *, ref: str) -> bool:
    """Note that a fact waits for this payment's purchase; False when the payment was noted before.

    Whoever gets False looks once more: the purchase may have become known in the meantime. The noted row is
    then locked, so that who writes the purchase into it waits, and finds the fact that waits for it.
    """
    row = {"project_id": scope.project_id, "mode": scope.mode, "ref": ref, "purchase_key": _AWAITED}
    if insert_unless_there(db, PaymentLink, row):
        return True
    _lock_payment(db, scope, ref=ref)
    return False


@read_row
def _lock_payment(scope: Scope, *, ref: str) -> Select[Any]:
    return (
        select(_LINKS.ref)
        .where(_LINKS.project_id == scope.project_id, _LINKS.mode == scope.mode, _LINKS.ref == ref)
        .with_for_update()
    )


def link_payments(db: Session, scope: Scope, *, refs: Iterable[str], purchase_key: str) -> None:
    """Remember that these belong to the purchase, and give it the facts that were waiting for them."""
    seen: set[str] = set()
    pending = set(refs)
    while pending:
        seen |= pending
        rows = [
            {"project_id": scope.project_id, "mode": scope.mode, "ref": ref, "purchase_key": purchase_key}
            for ref in sorted(pending)
        ]
        # Nothing waits for what nobody had noted yet: who waits for a payment notes it first.
        noted = pending - {ref for (ref,) in insert_new(db, PaymentLink, *rows, returning=("ref",))}
        pending = _take_waiting(db, scope, noted, purchase_key) - seen if noted else set()


def _take_waiting(db: Session, scope: Scope, noted: set[str], purchase_key: str) -> set[str]:
    """Give the purchase the facts that wait for payments noted before; the payments that these name."""
    # What is known already is left alone: whoever holds its row may wait for this purchase's.
    awaited = sorted(noted - {row.ref for row in _known(db, scope, refs=sorted(noted))})
    if not awaited:
        return set()
    rows = [
        {"project_id": scope.project_id, "mode": scope.mode, "ref": ref, "purchase_key": purchase_key}
        for ref in awaited
    ]
    insert_or_change(db, PaymentLink, *rows, replaced=("purchase_key",), while_is=("purchase_key", _AWAITED))
    named: set[str] = set()
    for fact in _waiting(db, scope, refs=awaited):
        change_row(
            db,
            Fact,
            {"project_id": scope.project_id, "mode": scope.mode, "id": fact.id},
            {"purchase_key": purchase_key, "waiting_for": None},
        )
        # A fact that knows a payment by two names tells the second one now.
        named |= payment_refs(fact.data)
    return named


@read_rows
def _known(scope: Scope, *, refs: Sequence[str]) -> Select[Any]:
    return select(_LINKS.ref).where(
        _LINKS.project_id == scope.project_id,
        _LINKS.mode == scope.mode,
        _LINKS.ref.in_(refs),
        _LINKS.purchase_key != _AWAITED,
    )


@read_rows
def _waiting(scope: Scope, *, refs: Sequence[str]) -> Select[Any]:
    return select(_FACTS.id, _FACTS.data).where(
        _FACTS.project_id == scope.project_id, _FACTS.mode == scope.mode, _FACTS.waiting_for.in_(refs)
    )
