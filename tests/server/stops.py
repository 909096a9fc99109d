"""`python -m tests.server.stops KIND COUNT SEED [MISTAKE]`: main loops that are writable to stop, very often.

Each stop is that of a process of its own, forked from this one, which has imported and made what it needs:
the loop of `licenzy serve`, of Granian's main process, of the worker or of the sandbox begins, and meets
one to six signals at random instants. What went wrong is printed as JSON, and ends the run.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from licenzy.cli.supervisor import Supervisor
from licenzy.db import migrate
from licenzy.factory import make_runtime
from licenzy.kit.stopping import STOPPING, StopSignal
from licenzy.server.processes import WebServer
from licenzy.settings import load_settings
from licenzy.stripe_sandbox import create_sandbox
from licenzy.stripe_sandbox.serving import serve
from licenzy.worker import run_worker

Loop = Callable[[StopSignal], None]
DEADLINE_SECONDS = 10.0
_SEEN_TO_HANG_SECONDS = 3.0
"""The same for a mistake, which only has to be writable from a stop."""


class EventInHandler(StopSignal):
    """The mistake: a handler that sets the event on which the main thread waits."""

    def listen(self) -> None:
        self._event = threading.Event()
        for number in STOPPING:
            signal.signal(number, lambda *_: self._event.set())

    def wait(self, seconds: float | None = None) -> bool:
        self.given = self._event.wait(seconds)
        return self.given


MISTAKES = {"": StopSignal, "event_in_handler": EventInHandler}


def supervisor(_folder: Path) -> Loop:
    def loop(stop: StopSignal) -> None:
        Supervisor(stop=stop, report=lambda _sentence: None).run(
            [], ready=lambda: False, on_ready=lambda: None
        )

    return loop


def web(_folder: Path) -> Loop:
    """Granian's main process, with a worker that answers nothing."""

    def loop(stop: StopSignal) -> None:
        server = WebServer(
            "stops",
            interface=Interfaces.RSGI,
            port=0,
            http=HTTPModes.http1,
            websockets=False,
            workers_kill_timeout=7,
            log_level=LogLevels.critical,
            stop=stop,
        )
        server.serve(spawn_target=_idle, target_loader=lambda _target: _idle)

    return loop


def _idle(*_arguments: Any) -> None:
    stop = StopSignal()
    stop.listen()
    while not stop.wait():
        pass


def worker(folder: Path) -> Loop:
    runtime = make_runtime(load_settings({"LICENZY_INSTANCE": str(folder)}))
    migrate.upgrade(runtime.database.engine)
    runtime.database.engine.dispose()
    return lambda stop: run_worker(runtime, stop=stop)


def sandbox(folder: Path) -> Loop:
    app = create_sandbox(
        folder / "sandbox.sqlite3", control_token="t", public_url="http://127.0.0.1", start=False
    )
    app.services.store.close()  # No connection is carried over a fork.

    def loop(stop: StopSignal) -> None:
        app.start()
        serve(app, host="127.0.0.1", port=0, stop=stop)

    return loop


KINDS = {each.__name__: each for each in (supervisor, web, worker, sandbox)}


def stop_once(
    loop: Loop, make_stop: Callable[[], StopSignal], chance: random.Random, within: float = DEADLINE_SECONDS
) -> str | None:
    """Begin the loop in a process and tell it to stop; what went wrong."""
    ready, writable = os.pipe()
    pid = os.fork()
    if not pid:
        _be_stopped(loop, make_stop(), writable)
    os.close(writable)
    os.read(ready, 1)
    os.close(ready)
    most = chance.choice([200e-6, 2e-3])
    _pause(chance.uniform(0, chance.choice([200e-6, 2e-3, 20e-3])))
    for _ in range(chance.randint(1, 6)):
        os.kill(pid, chance.choice(STOPPING))
        _pause(chance.uniform(0, most))
    return _how_it_ended(pid, within)


def _be_stopped(loop: Loop, stop: StopSignal, writable: int) -> None:
    """The whole life of such a process."""
    status = 1
    try:
        os.setsid()  # So that those it starts can be ended with it.
        gc.disable()
        stop.listen()
        os.write(writable, b".")
        os.close(writable)
        loop(stop)
        status = 0
    finally:
        os._exit(status)


def _how_it_ended(pid: int, within: float) -> str | None:
    until = time.monotonic() + within
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return f"ended with {os.waitstatus_to_exitcode(status)}" if status else _left_by(pid)
        if time.monotonic() > until:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "never stops"
        time.sleep(0.0005)


def _left_by(pid: int) -> str | None:
    """Whether a process that it started still runs."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
        return "left a process"
    return None


def _pause(seconds: float) -> None:
    """Exactly so long, which sleeping is not."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="licenzy-stops-") as folder:
        yield Path(folder)


def main(kind: str, count: str, seed: str, mistake: str = "") -> None:
    logging.disable(logging.CRITICAL)
    chance = random.Random(f"{kind} {seed}")
    began, wrong, done = time.monotonic(), list[str](), 0
    with _folder() as folder:
        loop = KINDS[kind](folder)
        gc.collect()
        gc.freeze()
        while done < int(count) and not wrong:
            done += 1
            within = _SEEN_TO_HANG_SECONDS if mistake else DEADLINE_SECONDS
            if what := stop_once(loop, MISTAKES[mistake], chance, within):
                wrong.append(what)
    print(json.dumps({"stops": done, "wrong": wrong, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
