"""What became of an attempt, written as its sessions and its subscription say it, in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, or_, update

from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.checkout.rules import outcome
from licenzy.projects.scope import Scope


def settle_attempt(
    db: Session,
    scope: Scope,
    *,
    attempt_id: str,
    session_id: str | None,
    sessions: Sequence[Mapping[str, Any]],
    never_paid: str | None,
    invoice_paid_at: datetime | None,
    paid_at: datetime | None,
    now: datetime,
) -> None:
    """Write what the facts of one of its sessions say became of an attempt, and when it was paid.

    `never_paid`: why its subscription seems never to have been paid for; `invoice_paid_at`: when one of its
    invoices first was. What the facts do not say stays as it is. Of several sessions, which Stripe makes
    from one that has expired, the one paid first counts, and one that expired counts only while no other
    has completed.
    """
    settled = outcome(sessions, never_paid=never_paid, paid_later=invoice_paid_at is not None)
    if settled is None:
        return
    status, reason = settled
    if status is AttemptStatus.PAID:
        paid_at = paid_at or invoice_paid_at
    columns: dict[str, Any] = {"status": status, "reason": reason, "paid_at": paid_at, "updated_at": now}
    if session_id:
        # The one that was opened stays: events of others are compared with it.
        opened = col(CheckoutAttempt.stripe_checkout_session_id)
        columns["stripe_checkout_session_id"] = func.coalesce(opened, session_id)
    for fact in sessions:
        found = {
            "stripe_subscription_id": fact["subscription"],
            "stripe_payment_intent_id": fact["payment_intent"],
        }
        columns |= {name: each for name, each in found.items() if each}
        columns |= {"amount_total": fact["amount_total"], "currency": fact["currency"]}
    may_follow = _may_follow(status, reason, paid_at, columns.get("stripe_subscription_id"))
    db.execute(update(CheckoutAttempt).where(*_named(scope, attempt_id), may_follow).values(columns))


def _may_follow(
    status: AttemptStatus, reason: str | None, paid_at: datetime | None, subscription_id: str | None
) -> ColumnElement[bool]:
    """Whether the attempt's row, as it is, may take on this outcome of one of its sessions."""
    present, present_reason = col(CheckoutAttempt.status), col(CheckoutAttempt.reason)
    if status is AttemptStatus.PAID:
        first_paid = col(CheckoutAttempt.paid_at)
        first = or_(present != AttemptStatus.PAID, first_paid.is_(None), first_paid >= paid_at)
        return or_(first, col(CheckoutAttempt.stripe_subscription_id) == subscription_id)
    if reason == "expired":
        return or_(present.in_([AttemptStatus.CREATED, AttemptStatus.OPEN]), present_reason == "expired")
    return present != AttemptStatus.PAID


def claim_subscription(db: Session, scope: Scope, *, attempt_id: str, subscription_id: str) -> bool:
    """Link an attempt to a subscription that names it; False when it is linked to another one."""
    linked = col(CheckoutAttempt.stripe_subscription_id)
    claimed = db.execute(
        update(CheckoutAttempt)
        .where(*_named(scope, attempt_id), or_(linked.is_(None), linked == subscription_id))
        .values(stripe_subscription_id=subscription_id)
    )
    return bool(claimed.rowcount)  # type: ignore[attr-defined]


def release_subscription(db: Session, scope: Scope, *, attempt_id: str, subscription_id: str) -> None:
    """Undo the link to a subscription that turned out not to be the attempt's."""
    db.execute(
        update(CheckoutAttempt)
        .where(*_named(scope, attempt_id), col(CheckoutAttempt.stripe_subscription_id) == subscription_id)
        .values(stripe_subscription_id=None)
    )


def _named(scope: Scope, attempt_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        col(CheckoutAttempt.project_id) == scope.project_id,
        col(CheckoutAttempt.mode) == scope.mode,
        col(CheckoutAttempt.id) == attempt_id,
    )
