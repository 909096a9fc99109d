"""Which purchase a payment belongs to, whichever of the two is told first.

Two transactions may tell the two at once and neither would see the other. Both therefore write the
payment's one row, where the second waits for the first: the purchase's key, or that a fact waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.db.reads import read_all, read_first
from licenzy.db.upsert import insert_or_change, insert_unless_there
from licenzy.entitlements.models import Fact, PaymentLink

_AWAITED = ""
"""Stands for the purchase of a payment that facts wait for."""


def purchase_behind(db: Session, *, project_id: str, mode: Mode, refs: Iterable[str]) -> str | None:
    """The purchase that any of these payments, charges or invoices belongs to; None when not known yet."""
    return _purchase_behind(db, project_id=project_id, mode=mode, refs=list(refs))


@read_first
def _purchase_behind(*, project_id: str, mode: Mode, refs: Sequence[str]) -> SelectOfScalar[str]:
    return (
        select(PaymentLink.purchase_key)
        .where(
            PaymentLink.project_id == project_id,
            PaymentLink.mode == mode,
            col(PaymentLink.ref).in_(refs),
            PaymentLink.purchase_key != _AWAITED,
        )
        .order_by(PaymentLink.ref)
        .limit(1)
    )


def await_purchase(db: Session, *, project_id: str, mode: Mode, ref: str) -> bool:
    """Note that a fact waits for this payment's purchase; False when the payment was noted before.

    Whoever gets False looks once more: the purchase may have become known in the meantime. The noted row is
    then locked, so that who writes the purchase into it waits, and finds the fact that waits for it.
    """
    row = {"project_id": project_id, "mode": mode, "ref": ref, "purchase_key": _AWAITED}
    if insert_unless_there(db, PaymentLink, row):
        return True
    _hold(db, project_id=project_id, mode=mode, ref=ref)
    return False


@read_first
def _hold(*, project_id: str, mode: Mode, ref: str) -> SelectOfScalar[str]:
    return (
        select(PaymentLink.ref)
        .where(PaymentLink.project_id == project_id, PaymentLink.mode == mode, PaymentLink.ref == ref)
        .with_for_update()
    )


def link_payments(
    db: Session, *, project_id: str, mode: Mode, refs: Iterable[str], purchase_key: str
) -> None:
    """Remember that these belong to the purchase, and give it the facts that were waiting for them."""
    scope: dict[str, Any] = {"project_id": project_id, "mode": mode}
    seen: set[str] = set()
    pending = set(refs)
    while pending:
        seen |= pending
        # What is known already is left alone: whoever holds its row may wait for this purchase's.
        known = set(_known(db, refs=sorted(pending), **scope))
        new = sorted(pending - known)
        pending = set()
        if not new:
            continue
        rows = [{**scope, "ref": ref, "purchase_key": purchase_key} for ref in new]
        insert_or_change(
            db, PaymentLink, *rows, replaced=("purchase_key",), while_is=("purchase_key", _AWAITED)
        )
        for fact in _waiting(db, refs=new, **scope):
            fact.purchase_key, fact.waiting_for = purchase_key, None
            # A fact that knows a payment by two names tells the second one now.
            pending |= payment_refs(fact.data) - seen
        db.flush()


@read_all
def _known(*, project_id: str, mode: Mode, refs: Sequence[str]) -> SelectOfScalar[str]:
    return select(PaymentLink.ref).where(
        PaymentLink.project_id == project_id,
        PaymentLink.mode == mode,
        col(PaymentLink.ref).in_(refs),
        PaymentLink.purchase_key != _AWAITED,
    )


@read_all
def _waiting(*, project_id: str, mode: Mode, refs: Sequence[str]) -> SelectOfScalar[Fact]:
    return select(Fact).where(
        Fact.project_id == project_id, Fact.mode == mode, col(Fact.waiting_for).in_(refs)
    )


def payment_refs(data: dict[str, object]) -> set[str]:
    """The payment intent, charge and invoice that a fact's data names."""
    named = {data.get(name) for name in ("payment_intent", "charge", "invoice")}
    return {ref for ref in named if isinstance(ref, str)}
