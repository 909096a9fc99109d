"""Which purchase a payment belongs to, whichever of the two is told first."""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.db.upsert import insert_unless_there
from licenzy.entitlements.models import Fact, PaymentLink


def purchase_behind(db: Session, *, project_id: str, mode: Mode, refs: Iterable[str]) -> str | None:
    """The purchase that any of these payments, charges or invoices belongs to; None when not known yet."""
    return db.exec(
        select(PaymentLink.purchase_key)
        .where(
            PaymentLink.project_id == project_id,
            PaymentLink.mode == mode,
            col(PaymentLink.ref).in_(list(refs)),
        )
        .order_by(PaymentLink.ref)
        .limit(1)
    ).first()


def link_payments(
    db: Session, *, project_id: str, mode: Mode, refs: Iterable[str], purchase_key: str
) -> None:
    """Remember that these belong to the purchase, and give it the facts that were waiting for them."""
    known: set[str] = set()
    pending = set(refs)
    while pending:
        for ref in sorted(pending):
            row = {"project_id": project_id, "mode": mode, "ref": ref, "purchase_key": purchase_key}
            insert_unless_there(db, PaymentLink, row)
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


def payment_refs(data: dict[str, object]) -> set[str]:
    """The payment intent, charge and invoice that a fact's data names."""
    named = {data.get(name) for name in ("payment_intent", "charge", "invoice")}
    return {ref for ref in named if isinstance(ref, str)}
