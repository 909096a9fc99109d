"""When each API key was last used, written beside the requests and never by one of them."""

from __future__ import annotations

import logging
import threading
import time

from licenzy.api_keys.actions import note_used
from licenzy.runtime import Runtime

EVERY_SECONDS = 60.0
"""How often at most one process writes the time of one key."""

_log = logging.getLogger("licenzy.api")


class LastUsed:
    """Notes uses at the cost of a dictionary look-up; a thread of its own writes them down."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._noted: dict[str, float] = {}
        self._pending: set[str] = set()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        runtime.database.before_close(self.stop)

    def note(self, key_id: str) -> None:
        """The key was used just now."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -EVERY_SECONDS) < EVERY_SECONDS:
            return
        with self._guard:
            self._noted[key_id] = now
            self._pending.add(key_id)
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="last-used", daemon=True)
                self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """End the thread; what it is writing is finished first."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            with self._guard:
                pending, self._pending = self._pending, set()
            try:
                self._write(pending)
            except Exception:
                # It is a date on a page: the next use of the key writes it again.
                _log.warning("the last use of %d API keys was not written", len(pending), exc_info=True)

    def _write(self, key_ids: set[str]) -> None:
        if not key_ids:
            return
        with self._runtime.database.write() as db:
            for key_id in sorted(key_ids):
                note_used(db, key_id=key_id, now=self._runtime.clock())
