"""Reads of checkout attempts."""

from __future__ import annotations

from sqlmodel import col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.reads import read_all, read_first
from licenzy.subjects.models import Subject


@read_first
def attempt_by_id(*, project_id: str, mode: Mode, attempt_id: str) -> SelectOfScalar[CheckoutAttempt]:
    """The attempt with this id, of this project and mode."""
    return select(CheckoutAttempt).where(
        CheckoutAttempt.project_id == project_id,
        CheckoutAttempt.mode == mode,
        CheckoutAttempt.id == attempt_id,
    )


@read_first
def attempt_of_session(
    *, project_id: str, mode: Mode, connection_id: str, session_id: str
) -> SelectOfScalar[CheckoutAttempt]:
    """The attempt that opened this Checkout Session."""
    return select(CheckoutAttempt).where(
        CheckoutAttempt.project_id == project_id,
        CheckoutAttempt.mode == mode,
        CheckoutAttempt.connection_id == connection_id,
        CheckoutAttempt.stripe_checkout_session_id == session_id,
    )


@read_first
def attempt_of_subscription(
    *, project_id: str, mode: Mode, connection_id: str, subscription_id: str
) -> SelectOfScalar[CheckoutAttempt]:
    """The attempt whose session made this subscription, once its completion was noticed."""
    return select(CheckoutAttempt).where(
        CheckoutAttempt.project_id == project_id,
        CheckoutAttempt.mode == mode,
        CheckoutAttempt.connection_id == connection_id,
        CheckoutAttempt.stripe_subscription_id == subscription_id,
    )


@read_all
def attempts_of(
    *, project_id: str, mode: Mode, subject_id: str, limit: int
) -> SelectOfScalar[CheckoutAttempt]:
    """What a subject last tried to buy, newest first."""
    return (
        select(CheckoutAttempt)
        .where(
            CheckoutAttempt.subject_id == subject_id,
            CheckoutAttempt.project_id == project_id,
            CheckoutAttempt.mode == mode,
        )
        .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
        .limit(limit)
    )


@read_all
def latest_attempts(*, project_id: str, mode: Mode, limit: int) -> Select[CheckoutAttempt, Subject]:
    """The last attempts of one side and who made them, newest first."""
    return (
        select(CheckoutAttempt, Subject)
        .join(Subject, col(Subject.id) == CheckoutAttempt.subject_id)
        .where(CheckoutAttempt.project_id == project_id, CheckoutAttempt.mode == mode)
        .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
        .limit(limit)
    )
