"""Failures that repeat, told once in a while instead of each time."""

from __future__ import annotations

import threading
import time

_MOST_KNOWN = 1000


class Repeats:
    """Says when to tell of something again: at most once in `seconds` for each thing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._guard = threading.Lock()
        self._last_logged: dict[str, tuple[float, int]] = {}
        """When each was told last, on the monotonic clock, and how often it has happened since."""

    def due(self, what: str) -> int:
        """How often it has happened since it was told last, this time too; 0 while it is not to be told."""
        now = time.monotonic()
        with self._guard:
            if len(self._last_logged) >= _MOST_KNOWN:
                self._last_logged.clear()
            last, times = self._last_logged.get(what, (float("-inf"), 0))
            if now - last < self._seconds:
                self._last_logged[what] = (last, times + 1)
                return 0
            self._last_logged[what] = (now, 0)
            return times + 1
