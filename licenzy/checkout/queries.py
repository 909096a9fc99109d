"""Reads of checkout attempts."""

from __future__ import annotations

from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.checkout.models import CheckoutAttempt
from licenzy.subjects.models import Subject


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


def attempts_of(
    db: Session, *, project_id: str, mode: Mode, subject_id: str, limit: int
) -> list[CheckoutAttempt]:
    """What a subject last tried to buy, newest first."""
    return list(
        db.exec(
            select(CheckoutAttempt)
            .where(
                CheckoutAttempt.subject_id == subject_id,
                CheckoutAttempt.project_id == project_id,
                CheckoutAttempt.mode == mode,
            )
            .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
            .limit(limit)
        )
    )


def latest_attempts(
    db: Session, *, project_id: str, mode: Mode, limit: int
) -> list[tuple[CheckoutAttempt, Subject]]:
    """The last attempts of one side and who made them, newest first."""
    return list(
        db.exec(
            select(CheckoutAttempt, Subject)
            .join(Subject, col(Subject.id) == CheckoutAttempt.subject_id)
            .where(CheckoutAttempt.project_id == project_id, CheckoutAttempt.mode == mode)
            .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
            .limit(limit)
        )
    )
