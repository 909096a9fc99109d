"""Which purchase a payment belongs to, whichever of the two is told first.

Two transactions may tell the two at once and neither would see the other. Both therefore write the
payment's one row, where the second waits for the first: the purchase's key, or that a fact waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, select, update

from licenzy.alignment.modes import Mode
from licenzy.db.upsert import insert_unless_there
from licenzy.entitlements.models import Fact, PaymentLink

_AWAITED = ""
"""Stands for the purchase of a payment that facts wait for."""


def purchase_behind(db: Session, *, project_id: str, mode: Mode, refs: Iterable[str]) -> str | None:
    """The purchase that any of these payments, charges or invoices belongs to; None when not known yet."""
    return db.exec(
        select(PaymentLink.purchase_key)
        .where(
            PaymentLink.project_id == project_id,
            PaymentLink.mode == mode,
            col(PaymentLink.ref).in_(list(refs)),
            PaymentLink.purchase_key != _AWAITED,
        )
        .order_by(PaymentLink.ref)
        .limit(1)
    ).first()


def await_purchase(db: Session, *, project_id: str, mode: Mode, ref: str) -> bool:
    """Note that a fact waits for this payment's purchase; False when the payment was noted before.

    Whoever gets False looks once more: the purchase may have become known in the meantime. The noted row is
    then locked, so that who writes the purchase into it waits, and finds the fact that waits for it.
    """
    row = {"project_id": project_id, "mode": mode, "ref": ref, "purchase_key": _AWAITED}
    if insert_unless_there(db, PaymentLink, row):
        return True
    db.exec(
        select(PaymentLink.ref)
        .where(PaymentLink.project_id == project_id, PaymentLink.mode == mode, PaymentLink.ref == ref)
        .with_for_update()
    ).first()
    return False


def link_payments(
    db: Session, *, project_id: str, mode: Mode, refs: Iterable[str], purchase_key: str
) -> None:
    """Remember that these belong to the purchase, and give it the facts that were waiting for them."""
    known: set[str] = set()
    pending = set(refs)
    while pending:
        for ref in sorted(pending):
            _link(db, project_id=project_id, mode=mode, ref=ref, purchase_key=purchase_key)
        known |= pending
        waiting = db.exec(
            select(Fact).where(
                Fact.project_id == project_id,
                Fact.mode == mode,
                col(Fact.waiting_for).in_(sorted(pending)),
            )
        ).all()
        pending = set()
        for fact in waiting:
            fact.purchase_key, fact.waiting_for = purchase_key, None
            # A fact that knows a payment by two names tells the second one now.
            pending |= payment_refs(fact.data) - known
        db.flush()


def _link(db: Session, **row: Any) -> None:
    if insert_unless_there(db, PaymentLink, row):
        return
    db.exec(
        update(PaymentLink)
        .where(
            col(PaymentLink.project_id) == row["project_id"],
            col(PaymentLink.mode) == row["mode"],
            col(PaymentLink.ref) == row["ref"],
            col(PaymentLink.purchase_key) == _AWAITED,
        )
        .values(purchase_key=row["purchase_key"])
    )


def payment_refs(data: dict[str, object]) -> set[str]:
    """The payment intent, charge and invoice that a fact's data names."""
    named = {data.get(name) for name in ("payment_intent", "charge", "invoice")}
    return {ref for ref in named if isinstance(ref, str)}
