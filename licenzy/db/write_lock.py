"""The fair lock that all writers of one SQLite file take first, in every thread and process.

SQLite lets one writer in at a time and has the others ask again after pauses that grow to a tenth of a
second, in no order. Waiting here first, a writer goes on within a fraction of a millisecond of the one
before it. Nobody depends on this lock: whoever writes without it still meets SQLite's own.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from licenzy.errors import DatabaseUnavailable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.00005, 0.002
_PAUSE_OF_WAIT = 0.01
"""Who has waited long looks less often: a hundredth of the wait makes no difference to it."""


class FairFileLock:
    """A lock among threads, then two locked files among processes, which the kernel frees after a crash.

    Who holds `next` is the next one to hold `now`. So the process that has just been in cannot come back
    before one that waits: with a single file, the one that is awake would win every time.
    """

    def __init__(self, database: Path) -> None:
        self._paths = [database.with_name(f"{database.name}.{name}") for name in ("next", "now")]
        self._descriptors: list[int] = []
        self._begin_anew()

    @contextmanager
    def acquired(self, *, seconds: float) -> Iterator[None]:
        """The right to write, for the length of the block. Raises DatabaseUnavailable after such a wait."""
        deadline = time.monotonic() + seconds
        if self._pid != os.getpid():
            # A fork's child has the locks of its parent in its hands, not its own. It lets go of them, for
            # they would outlast a parent that is killed.
            self._give_back_all()
            self._begin_anew()
        threads = self._threads
        if not threads.acquire(timeout=max(0.0, seconds)):
            raise DatabaseUnavailable
        try:
            try:
                now = self._take_both(deadline)
            except OSError as error:
                self._give_back_all()
                raise DatabaseUnavailable from error
            except BaseException:
                self._give_back_all()
                raise
            try:
                yield
            finally:
                try:
                    fcntl.flock(now, fcntl.LOCK_UN)
                except OSError:
                    self._give_back_all()
        finally:
            threads.release()

    def close(self) -> None:
        """Give the files back; who takes the lock later opens them again. Nobody may hold or want it then."""
        self._give_back_all()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._threads = threading.Lock()
        self._descriptors = []

    def _take_both(self, deadline: float) -> int:
        following, now = self._files()
        _take(following, deadline)
        _take(now, deadline)
        fcntl.flock(following, fcntl.LOCK_UN)
        return now

    def _files(self) -> list[int]:
        if not self._descriptors:
            for path in self._paths:
                self._descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        return self._descriptors

    def _give_back_all(self) -> None:
        """Close the files, which gives up whatever is locked in them, even where unlocking fails."""
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def _take(descriptor: int, deadline: float) -> None:
    began = time.monotonic()
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Asked for again and again, since a lock that is waited for in the kernel has no deadline.
            now = time.monotonic()
            if now > deadline:
                raise DatabaseUnavailable from None
            time.sleep(min(max((now - began) * _PAUSE_OF_WAIT, _FIRST_PAUSE), _LONGEST_PAUSE))
