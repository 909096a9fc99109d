"""Notes taken by requests at the cost of a dictionary look-up, and written by a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable

K = TypeVar("K")
V = TypeVar("V")

_log = logging.getLogger("licenzy.db")


class BackgroundBatcher(Generic[K, V]):
    """Collects notes by key until its thread writes them; a note that cannot be written is logged and lost.

    `write` is given what was collected, `merge` makes one note of two with the same key, `most` bounds how
    many keys wait at once, and between two writes at least `pause_seconds` pass.
    """

    def __init__(
        self,
        database: Database,
        write: Callable[[Mapping[K, V]], None],
        *,
        name: str,
        merge: Callable[[V, V], V],
        most: int = 1000,
        pause_seconds: float = 0.0,
    ) -> None:
        self._write, self._merge = write, merge
        self._name, self._most, self._pause = name, most, pause_seconds
        self._pending: dict[K, V] = {}
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        database.before_close(self.stop)

    def add(self, key: K, value: V) -> None:
        """Have this written soon."""
        with self._guard:
            if key in self._pending:
                self._pending[key] = self._merge(self._pending[key], value)
            elif len(self._pending) < self._most:
                self._pending[key] = value
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """Write what waits, and end the thread."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._flush()
            if self._stopped.wait(self._pause) if self._pause else self._stopped.is_set():
                self._flush()
                return

    def _flush(self) -> None:
        with self._guard:
            pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            self._write(pending)
        except DatabaseUnavailable as error:
            _log.warning("%d records of %s were not written: %s", len(pending), self._name, error.message)
        except Exception:
            _log.exception("%d records of %s were not written", len(pending), self._name)
