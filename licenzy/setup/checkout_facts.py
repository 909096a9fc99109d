"""What alignment's rules judge of checkouts: when each product was last sold, and payments nobody told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.alignment.facts import Seen
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.db.reads import read_all
from licenzy.observations.models import StripeProbe
from licenzy.projects.scope import Scope

_MOST_BASKETS = 500
"""Checkouts of several products that are looked through for their products."""


def unheard_attempts(db: Session, scope: Scope, probe: StripeProbe | None) -> Seen[tuple[str, ...]] | None:
    """Attempts paid at Stripe that no event had told of at the last look, and that none has told of since."""
    if probe is None or probe.probed_at is None or "unheard" not in probe.answers:
        return None
    still = _not_paid(db, scope, attempt_ids=probe.answers["unheard"])
    return Seen(tuple(sorted(still)), probe.probed_at)


@read_all
def _not_paid(scope: Scope, *, attempt_ids: Sequence[str]) -> SelectOfScalar[str]:
    return select(CheckoutAttempt.id).where(
        CheckoutAttempt.project_id == scope.project_id,
        CheckoutAttempt.mode == scope.mode,
        col(CheckoutAttempt.id).in_(attempt_ids),
        CheckoutAttempt.status != AttemptStatus.PAID,
    )


def last_checkouts(db: Session, scope: Scope, *, since: datetime) -> dict[str, datetime]:
    """By product code, when a checkout of it was last opened."""
    last = dict(_first_products(db, scope, since=since))
    for items, at in _several_products(db, scope, since=since):
        for code in (each["product_code"] for each in items or ()):
            last[code] = max(at, last.get(code, at))
    return last


@read_all
def _several_products(scope: Scope, *, since: datetime) -> Select[Sequence[dict[str, Any]] | None, datetime]:
    attempt = CheckoutAttempt
    return (
        select(attempt.items_sold, attempt.created_at)
        .where(
            attempt.project_id == scope.project_id,
            attempt.mode == scope.mode,
            attempt.created_at > since,
            col(attempt.stripe_checkout_session_id).is_not(None),
            col(attempt.items_sold).is_not(None),
        )
        .order_by(col(attempt.created_at).desc())
        .limit(_MOST_BASKETS)
    )


@read_all
def _first_products(scope: Scope, *, since: datetime) -> Select[str, datetime]:
    attempt = CheckoutAttempt
    return (
        select(attempt.product_code, func.max(attempt.created_at))
        .where(
            attempt.project_id == scope.project_id,
            attempt.mode == scope.mode,
            attempt.created_at > since,
            col(attempt.stripe_checkout_session_id).is_not(None),
        )
        .group_by(attempt.product_code)
    )
