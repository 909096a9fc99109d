"""A pipe that ends a child when its parent has gone, however the parent ended.

The parent alone holds the writing end and never writes. The kernel closes it with the parent, even
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
    """Remember the reading end, and stop this process in good order when the parent has gone."""
    global _parent_pipe
    _parent_pipe = descriptor
    _watch(_stop_in_order)


def watch_parent_in_fork() -> None:
    """For a process forked from one that has the pipe: end for certain, should nobody else see to it."""
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
