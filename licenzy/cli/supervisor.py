"""Keeps a few child processes running, and ends them together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from licenzy.cli.parent_watch import GRACE_SECONDS
from licenzy.kit.backoff import Backoff
from licenzy.kit.stopping import StopSignal

_BACKOFF = Backoff(first=1.0, longest=15.0)
_STABLE_SECONDS = 30.0
"""A child that ran this long and then died starts again at once."""
_POLL_SECONDS = 0.25
_FAST_POLL_SECONDS = 0.02
_MALLOC_ENVIRON = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""Makes glibc return the memory of large bodies, which it would keep for each thread."""


@dataclass(slots=True)
class Child:
    """One process to keep running: its name for people, and the arguments of `python -m licenzy`."""

    name: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    short_lives: int = 0
    """How often in a row it has died soon after it was started."""


class Supervisor:
    """Starts the children, restarts one that dies, and stops all of them within ten seconds of `stop`."""

    def __init__(self, *, stop: StopSignal, report: Callable[[str], None]) -> None:
        self._stop = stop
        self._report = report
        self._parent_pipe, self._parent_pipe_writer = os.pipe()

    def finish(self, arguments: Sequence[str]) -> bytes | None:
        """Run one process to its end; what it printed, which is little, or None when stopped meanwhile.

        Exits with its status when it fails; it has printed why.
        """
        process = self._spawn(arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as printed:
            while process.poll() is None:
                if self._stop.wait(_FAST_POLL_SECONDS):
                    _terminate([process])
                    return None
            if process.returncode and not self._stop.given:
                raise SystemExit(process.returncode)
            return printed.read() if not process.returncode else None

    def run(
        self, children: Sequence[Child], *, ready: Callable[[], bool], on_ready: Callable[[], None]
    ) -> None:
        """Keep everything running until stopped. Calls `on_ready` once, when `ready()` is true."""
        announced = False
        try:
            while not self._stop.given:
                for child in children:
                    self._keep_running(child)
                if not announced and ready():
                    announced = True
                    on_ready()
                self._stop.wait(_POLL_SECONDS)
        finally:
            _terminate([child.process for child in children if child.process is not None])

    def _keep_running(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self._start(child, now)
            return
        status = child.process.poll()
        if status is None:
            return
        _kill_group(child.process)  # Processes that the dead one left behind.
        stable = now - child.started_at >= _STABLE_SECONDS
        child.short_lives = 0 if stable else child.short_lives + 1
        child.process, child.start_at = None, now + _BACKOFF.base_seconds(child.short_lives)
        self._report(f"The {child.name} process ended with status {status} and is being restarted.")

    def _start(self, child: Child, now: float) -> None:
        child.started_at = now
        child.process = self._spawn(child.arguments)

    def _spawn(self, arguments: Sequence[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own module and arguments
            [sys.executable, "-m", "licenzy", *arguments, "--parent-pipe", str(self._parent_pipe)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            env={**_MALLOC_ENVIRON, **os.environ},
            pass_fds=(self._parent_pipe,),
            # Ctrl-C in a terminal goes to the whole group: children in groups of their own get the
            # signal from here, once and in order.
            start_new_session=True,
        )


def _terminate(running: Sequence[subprocess.Popen[bytes]]) -> None:
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
