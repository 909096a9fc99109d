"""Keeps a few child processes running, and ends them together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from licenzy.cli.leash import GRACE_SECONDS

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_SETTLED_SECONDS = 30.0
"""A child that ran this long and then died starts again at once."""
_LOOK_EVERY = 0.25
_GIVE_BACK = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""Has glibc give back what large bodies took, which it would keep for each thread."""


@dataclass(slots=True)
class Child:
    """One process to keep running: its name for people, and the arguments of `python -m licenzy`."""

    name: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = field(default=_FIRST_PAUSE)


class Supervisor:
    """Starts the children, restarts one that dies, and stops all of them within ten seconds."""

    def __init__(self, children: Sequence[Child], *, say: Callable[[str], None]) -> None:
        self._children = list(children)
        self._say = say
        self._stop = threading.Event()
        self._leash, self._end_of_us = os.pipe()

    def run(self, *, ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Keep everything running until SIGTERM or SIGINT. Calls `on_ready` once, when `ready()` is true."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told_to_stop)
        told = False
        try:
            while not self._stop.is_set():
                for child in self._children:
                    self._look_after(child)
                if not told and ready():
                    told = True
                    on_ready()
                self._stop.wait(_LOOK_EVERY)
        finally:
            self._end()

    def _told_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self._start(child, now)
            return
        status = child.process.poll()
        if status is None:
            return
        _kill_group(child.process)  # Processes that the dead one left behind.
        settled = now - child.started_at >= _SETTLED_SECONDS
        child.pause = _FIRST_PAUSE if settled else min(child.pause * 2, _LONGEST_PAUSE)
        child.process, child.start_at = None, now + (0 if settled else child.pause)
        self._say(f"The {child.name} process ended with status {status} and is started again.")

    def _start(self, child: Child, now: float) -> None:
        child.started_at = now
        child.process = subprocess.Popen(  # noqa: S603 - our own module and arguments
            [sys.executable, "-m", "licenzy", *child.arguments, "--leash", str(self._leash)],
            stdin=subprocess.DEVNULL,
            env={**_GIVE_BACK, **os.environ},
            pass_fds=(self._leash,),
            # Ctrl-C in a terminal goes to the whole group: children in groups of their own hear of it
            # from here, once and in order.
            start_new_session=True,
        )

    def _end(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _kill_group(process)
            process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
