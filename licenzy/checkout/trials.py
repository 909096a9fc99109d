"""Which trial a checkout offers: a customer has one trial of each group of products.

Two checkouts of one customer never offer a trial at the same time. The decision is made and written under the
lock of the customer's subjects, and a session that offers a trial is expired at Stripe before another one is
opened. No lock is held meanwhile: `offered_trial` names what is to be expired, and is asked again afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, or_, select, update
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog.models import Product
from licenzy.catalog.queries import products_in_trial_groups
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.checkout.queries import attempt_by_id
from licenzy.db.reads import read_all, read_first
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Purchase
from licenzy.entitlements.queries import trialed_products, trials_of
from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import lock_subject
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import other_customers_of, subject_by_id, subjects_of_stripe_customer
from licenzy.workspace.audit import record

_MOST_SUBJECTS = 100
"""Subjects that one Stripe customer stands for at most: mostly it is one."""

_COMPLETED = frozenset({AttemptStatus.PROCESSING, AttemptStatus.PAID})
_UNDER_WAY = frozenset({AttemptStatus.CREATED, AttemptStatus.OPEN})


@dataclass(frozen=True, slots=True)
class OpenTrial:
    """A Checkout Session that offers a trial and may still be completed."""

    attempt_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class TrialOffer:
    """What a checkout offers, or what has to be expired at Stripe before that is known."""

    days: int | None = None
    """None where the product has no trial; 0 where the customer had one."""
    expire_first: tuple[OpenTrial, ...] = ()
    is_another: bool = False
    """Whether an operator allowed it although the customer had a trial."""


NO_TRIAL = TrialOffer()


def offered_trial(
    db: Session,
    scope: Scope,
    *,
    products: Sequence[Product],
    subject_id: str,
    attempt_id: str | None,
    completed: Collection[str],
) -> TrialOffer:
    """The trial that a checkout of these products, which agree on it, offers to this subject.

    `attempt_id` is its own attempt, where it has one already; `completed` are attempts whose session Stripe
    says is complete. Attempts that have no session yet are closed here: whoever is creating one expires it.
    """
    product = products[0]
    if product.trial_days is None:
        return NO_TRIAL
    if not product.trial_once:
        return TrialOffer(product.trial_days)
    subjects = _lock_customer(db, scope, subject_id)
    ids = [subject.id for subject in subjects]
    group = products_in_trial_groups(db, scope, of=products)
    had = bool(trialed_products(db, scope, subject_ids=ids) & {each.product_code for each in group})
    offering = _offering(db, scope, ids, {each.id for each in group}, attempt_id)
    is_over = {each.id for each in offering if each.status in _COMPLETED or each.id in completed}
    is_another = had or bool(is_over)
    if is_another:
        own = next(subject for subject in subjects if subject.id == subject_id)
        allowed_before = _allowed_attempt(db, scope, own)
        if own.another_trial_allowed_at is None or _is_used(allowed_before, completed):
            return TrialOffer(0)
        # It may be of another group: what was allowed once is offered by one checkout at a time.
        offering += [allowed_before] if allowed_before is not None else []
    under_way = (each for each in offering if each.status in _UNDER_WAY and each.id not in is_over)
    open_ = list({each.id: each for each in under_way if each.id != attempt_id}.values())
    expire_first = tuple(
        OpenTrial(each.id, each.stripe_checkout_session_id)
        for each in open_
        if each.stripe_checkout_session_id is not None
    )
    if expire_first:
        return TrialOffer(expire_first=expire_first)
    close_attempts(db, scope, attempt_ids=[each.id for each in open_])
    return TrialOffer(product.trial_days, is_another=is_another)


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """What an operator sees of a customer's trials."""

    trials: Sequence[Purchase]
    """Purchases of the customer that were in a trial, newest first."""
    allowed_at: datetime | None
    """Since when another trial is allowed that no completed checkout has used."""


def trial_record(db: Session, scope: Scope, *, subject: Subject) -> TrialRecord:
    """The trials that count for this subject, and whether another one is allowed."""
    ids = [each.id for each in _counted_subjects(db, scope, subject)]
    attempt_id = subject.another_trial_attempt_id
    attempt = attempt_by_id(db, scope, attempt_id=attempt_id) if attempt_id is not None else None
    allowed_at = None if _is_used(attempt, ()) else subject.another_trial_allowed_at
    return TrialRecord(trials_of(db, scope, subject_ids=ids), allowed_at)


def allow_another_trial(db: Session, operator: OperatorContext, *, subject_id: str) -> bool:
    """Let a customer who had a trial have one more, of any product; False when one is allowed already.

    Raises NotFound, and InvalidRequest for a customer who had none.
    """
    scope = operator.scope
    if subject_by_id(db, scope, subject_id=subject_id) is None:
        raise NotFound("This customer does not exist.")
    subject = lock_subject(db, scope, subject_id=subject_id)
    known = trial_record(db, scope, subject=subject)
    if known.allowed_at is not None:
        return False
    if not known.trials:
        raise InvalidRequest("This customer had no trial.", hint="The next checkout offers one.")
    subject.another_trial_allowed_at, subject.another_trial_attempt_id = operator.now, None
    db.flush()
    record(
        db,
        actor=operator.actor,
        action="trial.allowed",
        about=subject.id,
        after={"note": operator.note},
        now=operator.now,
        project_id=scope.project_id,
        mode=scope.mode,
    )
    return True


def close_attempts(db: Session, scope: Scope, *, attempt_ids: Sequence[str]) -> None:
    """Note that these attempts can no longer be completed, unless they were."""
    if attempt_ids:
        db.exec(
            update(CheckoutAttempt)
            .where(
                col(CheckoutAttempt.project_id) == scope.project_id,
                col(CheckoutAttempt.mode) == scope.mode,
                col(CheckoutAttempt.id).in_(attempt_ids),
                col(CheckoutAttempt.status).in_(_UNDER_WAY),
            )
            .values(status=AttemptStatus.FAILED, reason="expired")
        )


def _lock_customer(db: Session, scope: Scope, subject_id: str) -> list[Subject]:
    """The subjects whose trials count for this one, locked in one order."""
    own = db.get_one(Subject, (scope.project_id, scope.mode, subject_id))
    ids = sorted({each.id for each in _counted_subjects(db, scope, own)})
    return [lock_subject(db, scope, subject_id=each) for each in ids]


def _counted_subjects(db: Session, scope: Scope, subject: Subject) -> list[Subject]:
    """The subject and those linked to the same Stripe customer.

    A forgotten subject with the same keyed hash belongs here too, once subjects can be forgotten.
    """
    customers = other_customers_of(db, scope, subject_id=subject.id)
    if subject.stripe_customer_id is not None:
        customers.insert(0, subject.stripe_customer_id)
    counted = {subject.id: subject}
    for each in customers:
        linked = subjects_of_stripe_customer(db, scope, stripe_customer_id=each, limit=_MOST_SUBJECTS)
        counted |= {one.id: one for one in linked}
    return list(counted.values())


def _offering(
    db: Session,
    scope: Scope,
    subject_ids: Sequence[str],
    product_ids: Collection[str],
    attempt_id: str | None,
) -> list[CheckoutAttempt]:
    """The other attempts of these subjects that offer or offered a trial of these products."""
    found = _with_trial(db, scope, subject_ids=subject_ids)
    return [each for each in found if each.id != attempt_id and _products_of(each) & {*product_ids}]


def _products_of(attempt: CheckoutAttempt) -> set[str]:
    return {attempt.product_id, *(each["product_id"] for each in attempt.items_sold or ())}


@read_all
def _with_trial(scope: Scope, *, subject_ids: Sequence[str]) -> SelectOfScalar[CheckoutAttempt]:
    """Attempts that offer a trial, locked. Those that Stripe refused have no session and offer nothing."""
    return (
        select(CheckoutAttempt)
        .where(
            CheckoutAttempt.project_id == scope.project_id,
            CheckoutAttempt.mode == scope.mode,
            col(CheckoutAttempt.subject_id).in_(subject_ids),
            col(CheckoutAttempt.trial_days) > 0,
            or_(
                col(CheckoutAttempt.status).in_({AttemptStatus.OPEN, *_COMPLETED}),
                (col(CheckoutAttempt.status) == AttemptStatus.CREATED)
                & col(CheckoutAttempt.reason).is_(None),
            ),
        )
        .order_by(col(CheckoutAttempt.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _allowed_attempt(db: Session, scope: Scope, subject: Subject) -> CheckoutAttempt | None:
    """The checkout that offered the trial that an operator allowed, locked; none before one did."""
    attempt_id = subject.another_trial_attempt_id
    return None if attempt_id is None else _lock_attempt(db, scope, attempt_id=attempt_id)


@read_first
def _lock_attempt(scope: Scope, *, attempt_id: str) -> SelectOfScalar[CheckoutAttempt]:
    return (
        select(CheckoutAttempt)
        .where(
            CheckoutAttempt.project_id == scope.project_id,
            CheckoutAttempt.mode == scope.mode,
            CheckoutAttempt.id == attempt_id,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _is_used(attempt: CheckoutAttempt | None, completed: Collection[str]) -> bool:
    """Whether a checkout that offered an allowed trial was completed. One that failed later had it, too."""
    if attempt is None:
        return False
    is_complete = attempt.status in _COMPLETED or attempt.id in completed
    return is_complete or attempt.stripe_subscription_id is not None
