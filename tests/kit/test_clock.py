"""Instants: written for the API, taken from Stripe, kept as microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licenzy.kit.clock import EPOCH, from_micros, from_unix, rfc3339, to_micros, utc_now, whole_hours

instants = st.datetimes(
    min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)
) | st.datetimes(
    min_value=datetime(1900, 1, 1),
    max_value=datetime(2200, 1, 1),
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@settings(database=None, deadline=None)
@given(instants)
def test_microseconds_keep_the_whole_instant(instant: datetime) -> None:
    assert from_micros(to_micros(instant)) == instant
    assert from_micros(to_micros(instant)).tzinfo is UTC


@settings(database=None, deadline=None)
@given(instants)
def test_whole_hours_are_those_of_the_microseconds(instant: datetime) -> None:
    assert whole_hours(instant.astimezone(UTC)) == to_micros(instant) // 3_600_000_000


@settings(database=None, deadline=None)
@given(instants, instants)
def test_microseconds_sort_as_instants_do(one: datetime, other: datetime) -> None:
    assert (to_micros(one) < to_micros(other)) == (one < other)


@pytest.mark.parametrize(
    ("instant", "written"),
    [
        (datetime(2026, 11, 23, 9, 30, tzinfo=UTC), "2026-11-23T09:30:00Z"),
        (datetime(2026, 11, 23, 9, 30, 0, 999_999, tzinfo=UTC), "2026-11-23T09:30:00Z"),
        (datetime(2026, 11, 23, 0, 30, tzinfo=timezone(timedelta(hours=2))), "2026-11-22T22:30:00Z"),
        (EPOCH, "1970-01-01T00:00:00Z"),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "1969-12-31T23:59:59Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59Z"),
    ],
)
def test_instants_of_the_api(instant: datetime, written: str) -> None:
    assert rfc3339(instant) == written


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        to_micros(datetime(2026, 11, 23))


def test_stripes_seconds() -> None:
    assert from_unix(1_795_426_200) == datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    assert from_unix(253_402_300_799) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    with pytest.raises(OverflowError):
        from_unix(253_402_300_800)


def test_now_is_aware() -> None:
    assert utc_now().tzinfo is UTC
