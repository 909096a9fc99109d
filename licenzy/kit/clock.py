"""The one clock. Everything that depends on time takes `now` as an argument; doors ask a `Clock`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Stands for an end that no calendar has."""


def later(instant: datetime, by: timedelta) -> datetime:
    """The instant `by` later; LAST_INSTANT where the calendar has no such year."""
    return instant + by if by <= LAST_INSTANT - instant else LAST_INSTANT


def rfc3339(instant: datetime) -> str:
    """`2026-11-23T09:30:00Z`: UTC with `Z`, to the second, as `/v1` and webhooks write instants."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_unix(seconds: int | float) -> datetime:
    """An instant from Stripe's Unix seconds. Raises OverflowError beyond year 9999."""
    return EPOCH + timedelta(seconds=seconds)


def to_micros(instant: datetime) -> int:
    """Microseconds since 1970 in UTC, the form instants have in the database."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def whole_hours(instant: datetime) -> int:
    """Whole hours since 1970 of an instant in UTC; every access check asks."""
    return instant.toordinal() * 24 + instant.hour - _HOURS_BEFORE_1970


_HOURS_BEFORE_1970 = EPOCH.toordinal() * 24


def from_micros(micros: int) -> datetime:
    """The inverse of `to_micros`."""
    return EPOCH + timedelta(microseconds=micros)
