"""How long to wait before something that failed is tried again. Pure: randomness is an argument.

What sleeps, or writes down when a try is due, asks here for how long. A wait is spread by a share of itself,
so that those who failed together do not all come back together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

Random: TypeAlias = Callable[[], float]
"""Gives a number from 0 to below 1 at each call, as `random.random` does."""

_NO_JITTER = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that grow by `factor` with each failure, from `first` up to `longest`, in seconds.

    Each is multiplied by a number between the two of `jitter`.
    """

    first: float
    factor: float = 2.0
    longest: float
    jitter: tuple[float, float] = _NO_JITTER

    def base_seconds(self, failures: int) -> float:
        """The wait after so many failures in a row, before it is spread; none before the first failure."""
        if failures < 1:
            return 0.0
        try:
            return min(self.first * self.factor ** (failures - 1), self.longest)
        except OverflowError:
            return self.longest

    def seconds(self, failures: int, random: Random, *, at_least: float = 0.0) -> float:
        """The wait after so many failures in a row. One that was asked for, `at_least`, is spread too."""
        wait = max(self.base_seconds(failures), at_least)
        return max(spread(wait, self.jitter, random), at_least)

    def delay(self, failures: int, random: Random, *, at_least: float = 0.0) -> timedelta:
        """The same as a `timedelta`; `at_least` is in seconds."""
        return timedelta(seconds=self.seconds(failures, random, at_least=at_least))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Waits that are listed one by one and come to an end, each spread as those of a `Backoff` are."""

    delays: tuple[timedelta, ...]
    jitter: tuple[float, float] = _NO_JITTER

    def delay(self, failures: int, random: Random) -> timedelta | None:
        """The wait after so many failures in a row, at least one; None when there are no more tries."""
        if failures > len(self.delays):
            return None
        return timedelta(seconds=spread(self.delays[failures - 1].total_seconds(), self.jitter, random))


def spread(seconds: float, jitter: tuple[float, float], random: Random) -> float:
    """A wait multiplied by a random number between the two of `jitter`."""
    low, high = jitter
    return seconds * (low + (high - low) * random())
