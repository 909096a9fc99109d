"""The line in which all writers of one SQLite file stand, in every thread and process.

SQLite lets one writer in at a time and has the others ask again after pauses that grow to a tenth of a
second, in no order. Waiting here first, a writer goes on within a fraction of a millisecond of the one
before it. Nobody depends on the line: whoever writes without it still meets SQLite's own lock.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from licenzy.errors import DatabaseUnavailable

_PAUSE_SECONDS = 0.00005


class WritersLine:
    """A lock among threads, then two locked files among processes, which the kernel frees after a crash.

    Who holds `next` is the next one to hold `now`. So the process that has just been in cannot come back
    before one that waits: with a single file, the one that is awake would win every time.
    """

    def __init__(self, database: Path) -> None:
        self._paths = [database.with_name(f"{database.name}.{name}") for name in ("next", "now")]
        self._descriptors: list[int] = []
        self._begin_anew()

    @contextmanager
    def turn(self, *, seconds: float) -> Iterator[None]:
        """The right to write, for the length of the block. Raises DatabaseUnavailable after such a wait."""
        deadline = time.monotonic() + seconds
        if self._pid != os.getpid():
            self._begin_anew()  # A fork's child has the locks of its parent in its hands, not its own.
        if not self._threads.acquire(timeout=seconds):
            raise DatabaseUnavailable
        try:
            following, now = self._files()
            _take(following, deadline)
            try:
                _take(now, deadline)
            finally:
                fcntl.flock(following, fcntl.LOCK_UN)
            try:
                yield
            finally:
                fcntl.flock(now, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def close(self) -> None:
        """Give the files back; a later turn opens them again. Nobody may be in or wait then."""
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            os.close(descriptor)

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._threads = threading.Lock()
        self._descriptors = []

    def _files(self) -> list[int]:
        if not self._descriptors:
            try:
                self._descriptors = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in self._paths]
            except OSError as error:
                raise DatabaseUnavailable from error
        return self._descriptors


def _take(descriptor: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Asked for again and again, since a lock that is waited for in the kernel has no deadline.
            if time.monotonic() > deadline:
                raise DatabaseUnavailable from None
            time.sleep(_PAUSE_SECONDS)
