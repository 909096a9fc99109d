"""Reads of checkout attempts."""

from __future__ import annotations

from sqlmodel import Session, select

from licenzy.alignment.modes import Mode
from licenzy.checkout.models import CheckoutAttempt


def attempt_by_id(db: Session, *, project_id: str, mode: Mode, attempt_id: str) -> CheckoutAttempt | None:
    """The attempt with this id, of this project and mode."""
    return db.exec(
        select(CheckoutAttempt).where(
            CheckoutAttempt.project_id == project_id,
            CheckoutAttempt.mode == mode,
            CheckoutAttempt.id == attempt_id,
        )
    ).first()


def attempt_of_session(
    db: Session, *, project_id: str, mode: Mode, connection_id: str, session_id: str
) -> CheckoutAttempt | None:
    """The attempt that opened this Checkout Session."""
    return db.exec(
        select(CheckoutAttempt).where(
            CheckoutAttempt.project_id == project_id,
            CheckoutAttempt.mode == mode,
            CheckoutAttempt.connection_id == connection_id,
            CheckoutAttempt.stripe_checkout_session_id == session_id,
        )
    ).first()


def attempt_of_subscription(
    db: Session, *, project_id: str, mode: Mode, connection_id: str, subscription_id: str
) -> CheckoutAttempt | None:
    """The attempt whose session made this subscription, once its completion was noticed."""
    return db.exec(
        select(CheckoutAttempt).where(
            CheckoutAttempt.project_id == project_id,
            CheckoutAttempt.mode == mode,
            CheckoutAttempt.connection_id == connection_id,
            CheckoutAttempt.stripe_subscription_id == subscription_id,
        )
    ).first()
