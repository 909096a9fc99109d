"""Waits between tries: how they grow, where they end, how far they are spread."""

from __future__ import annotations

from datetime import timedelta

import pytest

from licenzy.kit.backoff import Backoff, Schedule


def lowest() -> float:
    return 0.0


def middle() -> float:
    return 0.5


def test_waits_grow_to_the_longest() -> None:
    backoff = Backoff(first=0.5, longest=3.0)
    assert [backoff.seconds(failures, middle) for failures in range(6)] == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.delay(2, middle) == timedelta(seconds=1)


@pytest.mark.parametrize("failures", [17, 1025, 10**9])
def test_any_number_of_failures_has_a_wait(failures: int) -> None:
    assert Backoff(first=30.0, longest=21_600.0).seconds(failures, middle) == 21_600.0


def test_each_wait_is_spread_between_the_two_shares() -> None:
    backoff = Backoff(first=10.0, factor=3.0, longest=20.0, jitter=(0.9, 1.1))
    drawn = iter([0.0, 0.5, 1.0])
    assert [backoff.seconds(1, lambda: next(drawn)) for _ in range(3)] == pytest.approx([9.0, 10.0, 11.0])
    assert backoff.seconds(2, lambda: 1.0) == pytest.approx(22.0), "the longest is spread as well"


def test_a_wait_that_was_asked_for_is_kept_and_spread() -> None:
    backoff = Backoff(first=1.0, longest=8.0, jitter=(1.0, 1.5))
    assert backoff.seconds(1, lowest, at_least=60.0) == 60.0
    assert backoff.seconds(1, middle, at_least=60.0) == 75.0
    shorter = Backoff(first=1.0, longest=8.0, jitter=(0.5, 1.0))
    assert shorter.seconds(1, lowest, at_least=60.0) == 60.0
    assert shorter.seconds(4, middle, at_least=2.0) == 6.0


def test_a_schedule_ends() -> None:
    schedule = Schedule(delays=(timedelta(seconds=10), timedelta(minutes=5)), jitter=(0.9, 1.1))
    assert schedule.delay(1, lowest) == timedelta(seconds=9)
    assert schedule.delay(2, middle) == timedelta(minutes=5)
    assert schedule.delay(3, middle) is None
