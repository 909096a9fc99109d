"""What one side did over time: access checks, purchases and units consumed, by the hour or by the day."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, func, literal_column, type_coerce
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.reads import read_all
from licenzy.entitlements.models import Entitlement
from licenzy.kit.clock import EPOCH, whole_hours
from licenzy.kit.time_zones import to_instant
from licenzy.observations.models import CheckCount
from licenzy.projects.models import DEFAULT_UNIT
from licenzy.projects.scope import Scope
from licenzy.usage.models import LedgerRow
from licenzy.usage.units import units_ever_sold


@dataclass(frozen=True, slots=True)
class Span:
    """How far back one looks, and in which steps."""

    code: str
    words: str
    steps: int
    hours: int
    """The length of one step."""


BY_HOUR = Span("24h", "24 hours", 24, 1)
BY_DAY = Span("30d", "30 days", 30, 24)


@dataclass(slots=True)
class ActivityStep:
    """What was done in one hour, or on one day."""

    begins: datetime
    allowed: int = 0
    denied: int = 0
    purchases: int = 0
    """Checkout attempts that were paid."""
    used: Counter[str] = field(default_factory=Counter)
    """What was consumed of usage packs and included units, by unit."""

    @property
    def units(self) -> int:
        """All of it together."""
        return self.used.total()


@dataclass(frozen=True, slots=True)
class Activity:
    """The steps of a span, the oldest first, and their sums."""

    span: Span
    steps: list[ActivityStep]

    @property
    def allowed(self) -> int:
        return sum(step.allowed for step in self.steps)

    @property
    def denied(self) -> int:
        return sum(step.denied for step in self.steps)

    @property
    def checks(self) -> int:
        return self.allowed + self.denied

    @property
    def purchases(self) -> int:
        return sum(step.purchases for step in self.steps)

    @property
    def units(self) -> int:
        return sum(step.units for step in self.steps)

    @property
    def used(self) -> dict[str, int]:
        """What was consumed of usage packs and included units, by unit, the most first."""
        together: Counter[str] = Counter()
        for step in self.steps:
            together.update(step.used)
        return dict(together.most_common())


def activity(db: Session, scope: Scope, *, span: Span, zone: tzinfo, now: datetime) -> Activity:
    """What one side did in the last `span.steps` hours or days, the one of `now` included.

    Days are those of `zone`. What happened is known by whole hours of UTC, and counts to the day in which
    its hour begins.
    """
    steps = [ActivityStep(begins) for begins in _beginnings(span, zone, now)]
    since = steps[0].begins
    first_hours = [-(-(step.begins - EPOCH) // timedelta(hours=1)) for step in steps]

    def step(hour: int) -> ActivityStep:
        # A sandbox whose clock was moved dates later than now what has happened by now.
        return steps[max(0, bisect_right(first_hours, hour) - 1)]

    for hour, allowed, denied in _checks(db, scope, since_hour=first_hours[0]):
        step(hour).allowed += allowed
        step(hour).denied += denied
    for hour, purchases in _purchases(db, scope, since=since):
        step(hour).purchases += purchases
    for hour, unit, units in _consumed(db, scope, since=since):
        step(hour).used[unit] += int(units)
    return Activity(span, steps)


def _beginnings(span: Span, zone: tzinfo, now: datetime) -> list[datetime]:
    """When the steps begin, in UTC, the oldest first."""
    if span.hours == 1:
        last = EPOCH + timedelta(hours=whole_hours(now))
        return [last - timedelta(hours=back) for back in reversed(range(span.steps))]
    today = now.astimezone(zone).date()
    days = (today - timedelta(days=back) for back in reversed(range(span.steps)))
    return [to_instant(datetime.combine(each, time()), zone) for each in days]


def _consumed(db: Session, scope: Scope, *, since: datetime) -> list[tuple[int, str, int]]:
    """What was consumed in each hour, by unit. Where there is one unit, an index alone tells it."""
    names = units_ever_sold(db, scope)
    if len(names) > 1:
        return _units_by_name(db, scope, since=since)
    unit = names[0] if names else DEFAULT_UNIT
    return [(hour, unit, units) for hour, units in _units(db, scope, since=since)]


@read_all
def _checks(scope: Scope, *, since_hour: int) -> Select[int, int, int]:
    return select(CheckCount.hour, CheckCount.allowed, CheckCount.denied).where(
        CheckCount.project_id == scope.project_id,
        CheckCount.mode == scope.mode,
        CheckCount.hour >= since_hour,
    )


@read_all
def _purchases(scope: Scope, *, since: datetime) -> Select[int, int]:
    hour = _hour(CheckoutAttempt.paid_at)
    return (
        select(hour, func.count())
        .where(
            CheckoutAttempt.project_id == scope.project_id,
            CheckoutAttempt.mode == scope.mode,
            col(CheckoutAttempt.paid_at) >= since,
        )
        .group_by(hour)
    )


@read_all
def _units(scope: Scope, *, since: datetime) -> Select[int, int]:
    hour = _hour(LedgerRow.used_at)
    return (
        select(hour, func.sum(LedgerRow.units))
        .where(
            LedgerRow.project_id == scope.project_id,
            LedgerRow.mode == scope.mode,
            col(LedgerRow.used_at) >= since,
        )
        .group_by(hour)
    )


@read_all
def _units_by_name(scope: Scope, *, since: datetime) -> Select[int, str, int]:
    hour = _hour(LedgerRow.used_at)
    unit = func.coalesce(LedgerRow.unit, Entitlement.unit)
    return (
        select(hour, unit, func.sum(LedgerRow.units))
        .join(Entitlement)
        .where(
            LedgerRow.project_id == scope.project_id,
            LedgerRow.mode == scope.mode,
            col(LedgerRow.used_at) >= since,
        )
        .group_by(hour, unit)
    )


def _hour(instant: Any) -> ColumnElement[int]:
    """The whole hour since 1970 that a stored instant lies in."""
    return type_coerce(instant, BigInteger) // literal_column("3600000000", BigInteger)
