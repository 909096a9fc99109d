"""How fast one caller may call one process: a token bucket per caller, in memory.

A bucket in the database would cost every access check a write; what this protects, the process and
its threads, is local anyway.
"""

from __future__ import annotations

import time
from threading import Lock

from licenzy.errors import RateLimited

_MOST_BUCKETS = 10_000


class RateLimiter:
    """`rate` calls a second per caller, with bursts of twice that."""

    def __init__(self, rate: int) -> None:
        self._rate = float(rate)
        self._burst = rate * 2.0
        self._buckets: dict[str, tuple[float, float]] = {}
        self._guard = Lock()

    def refuse_spent(self, caller: str) -> None:
        """Take nothing. Raises RateLimited while the caller has used up what it had."""
        tokens, then = self._buckets.get(caller, (self._burst, 0.0))
        if tokens + (time.monotonic() - then) * self._rate < 1.0:
            raise RateLimited

    def admit(self, caller: str) -> None:
        """Take one token. Raises RateLimited when there is none."""
        now = time.monotonic()
        with self._guard:
            tokens, then = self._buckets.get(caller, (self._burst, now))
            tokens += (now - then) * self._rate
            if tokens > self._burst:
                tokens = self._burst
            elif tokens < 1.0:
                self._buckets[caller] = (tokens, now)
                raise RateLimited
            if len(self._buckets) >= _MOST_BUCKETS:
                self._buckets.clear()  # Full buckets are worth forgetting; nobody gains more than a burst.
            self._buckets[caller] = (tokens - 1.0, now)

    def give_back(self, caller: str) -> None:
        """Return a token that was taken for a call which somebody else will count."""
        with self._guard:
            if caller in self._buckets:
                tokens, then = self._buckets[caller]
                self._buckets[caller] = (min(tokens + 1.0, self._burst), then)
