"""What was asked of the API, for tests that prove what a program asks of Stripe, and how often."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

from licenzy.stripe_sandbox.version import Json

_MOST_KEPT = 1000


@dataclass
class _AccountCalls:
    counts: Counter[str] = field(default_factory=Counter)
    newest: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_KEPT))


class CallLog:
    """The calls of each account with a key of its own, refused ones included, in memory: a restart
    forgets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[str, _AccountCalls] = {}

    def note(self, scope: str, operation: str, target: str) -> None:
        """`operation` is a method and a rule, such as `GET /v1/prices/<price_id>`; `target` the path with
        its query."""
        method = operation.partition(" ")[0]
        with self._lock:
            calls = self._accounts.setdefault(scope, _AccountCalls())
            calls.counts[operation] += 1
            calls.newest.append(f"{method} {target}")

    def read(self, scope: str) -> Json:
        """`total` calls, how many of them were `writes`, `counts` by operation, and the newest 1,000 in
        their order as `calls`."""
        with self._lock:
            calls = self._accounts.get(scope, _AccountCalls())
            return {
                "total": calls.counts.total(),
                "writes": sum(n for name, n in calls.counts.items() if not name.startswith("GET ")),
                "counts": dict(sorted(calls.counts.items())),
                "calls": list(calls.newest),
            }

    def clear(self, scope: str) -> None:
        with self._lock:
            self._accounts.pop(scope, None)
