"""Keeps a few child processes running, and ends them together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from licenzy.cli.leash import GRACE_SECONDS
from licenzy.kit.stopping import StopSignal

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_SETTLED_SECONDS = 30.0
"""A child that ran this long and then died starts again at once."""
_CHECK_EVERY = 0.25
_LOOK_CLOSELY = 0.02
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
    """Starts the children, restarts one that dies, and stops all of them within ten seconds of `stop`."""

    def __init__(self, *, stop: StopSignal, say: Callable[[str], None]) -> None:
        self._stop = stop
        self._say = say
        self._leash, self._end_of_us = os.pipe()

    def finish(self, arguments: Sequence[str]) -> bytes | None:
        """Run one process to its end; what it printed, which is little, or None when told to stop meanwhile.

        Leaves with its status when it fails, having said why.
        """
        process = self._begin(arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as printed:
            while process.poll() is None:
                if self._stop.wait(_LOOK_CLOSELY):
                    _end([process])
                    return None
            if process.returncode and not self._stop.given:
                raise SystemExit(process.returncode)
            return printed.read() if not process.returncode else None

    def run(
        self, children: Sequence[Child], *, ready: Callable[[], bool], on_ready: Callable[[], None]
    ) -> None:
        """Keep everything running until told to stop. Calls `on_ready` once, when `ready()` is true."""
        told = False
        try:
            while not self._stop.given:
                for child in children:
                    self._look_after(child)
                if not told and ready():
                    told = True
                    on_ready()
                self._stop.wait(_CHECK_EVERY)
        finally:
            _end([child.process for child in children if child.process is not None])

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
        child.process = self._begin(child.arguments)

    def _begin(self, arguments: Sequence[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own module and arguments
            [sys.executable, "-m", "licenzy", *arguments, "--leash", str(self._leash)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            env={**_GIVE_BACK, **os.environ},
            pass_fds=(self._leash,),
            # Ctrl-C in a terminal goes to the whole group: children in groups of their own hear of it
            # from here, once and in order.
            start_new_session=True,
        )


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
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
