"""A pipe that ends a child process when its parent has ended, for whatever reason.

Only the parent has the writing end, and it never writes. The kernel closes it with the parent, even
after `kill -9`, and every process that reads the other end then stops itself.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

GRACE_SECONDS = 9.3
"""How long a child may take to finish what it is doing."""

_parent_pipe: int | None = None


def watch_parent(descriptor: int | None) -> None:
    """Remember the reading end, and stop this process gracefully when the parent has ended."""
    global _parent_pipe
    _parent_pipe = descriptor
    _watch(_stop_in_order)


def watch_parent_in_fork() -> None:
    """For a process forked from one with the pipe: exit after the parent, if nothing else ends it."""
    _watch(_end_later)


def _watch(then: Callable[[], None]) -> None:
    descriptor = _parent_pipe
    if descriptor is None:
        return

    def wait() -> None:
        os.read(descriptor, 1)
        then()

    threading.Thread(target=wait, name="parent watch", daemon=True).start()


def _stop_in_order() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    _end_later()


def _end_later() -> None:
    # From a thread, because a stuck request would keep a signal handler waiting.
    time.sleep(GRACE_SECONDS)
    os._exit(1)
