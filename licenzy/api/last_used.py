"""When each API key was last used, written beside the requests and never by one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from licenzy.api_keys.actions import note_used
from licenzy.db.background_batch import BackgroundBatcher
from licenzy.runtime import Runtime

EVERY_SECONDS = 60.0
"""How often at most one process writes the time of one key."""


class LastUsed:
    """Notes uses at the cost of a dictionary look-up; a thread of its own writes them down."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._noted: dict[str, float] = {}
        # A use that is not written is a date on a page: the next use of the key writes it again.
        self._batcher: BackgroundBatcher[str, None] = BackgroundBatcher(
            runtime.database, self._write, name="last-used", merge=lambda _before, _now: None
        )

    def note(self, key_id: str) -> None:
        """The key was used just now."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -EVERY_SECONDS) < EVERY_SECONDS:
            return
        self._noted[key_id] = now
        self._batcher.add(key_id, None)

    def _write(self, key_ids: Mapping[str, None]) -> None:
        with self._runtime.database.write() as db:
            for key_id in sorted(key_ids):
                note_used(db, key_id=key_id, now=self._runtime.clock())
