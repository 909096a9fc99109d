"""Granian's server of several processes, with signals that are only noted and workers replaced one by one.

Its own handlers set the very `threading.Event` that its main thread waits on, which can hang for good, and
one more signal while workers are started or replaced could be forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from granian._futures import _new_cbscheduler
from granian._granian import RSGIWorker, WorkerSignal
from granian.constants import TaskImpl
from granian.server.common import WORKERS_METHODS
from granian.server.mp import MPServer, WorkerProcess

from licenzy.kit.backoff import Backoff
from licenzy.kit.stopping import StopSignal
from licenzy.server.front import Front
from licenzy.server.limits import IDLE_SECONDS

_CHECK_EVERY = 1.0
_START_SECONDS = 30.0
_FINISH_SECONDS = 8.0
"""How long requests under way may take when the process is told to stop. Then they are cut."""
_SAYING_SECONDS = 0.2
"""How long after that the last answers may take to be on their way."""
KILL_SECONDS = 9
"""How long Granian waits for a worker before it is killed."""
_OTHER_FILES = 256
"""What a process opens besides connections: databases, calls of Stripe, libraries."""
_FEWEST_CONNECTIONS = 64
_SETTLED_SECONDS = 10.0
"""A worker that lived this long and then died is replaced at once."""
_BACKOFF = Backoff(first=0.2, longest=5.0)

_log = logging.getLogger("licenzy.server")


class WebServer(MPServer):
    """Granian's main process. It stops when `stop` says so, and passes that on to its workers."""

    def __init__(self, *arguments: Any, stop: StopSignal, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stop = stop
        self.main_loop_interrupt = _Waker(stop)  # type: ignore[assignment]

    def run(self, loader: Callable[[str], Any]) -> None:
        """Serve what `loader` gives, in each worker, until told to stop."""
        self.serve(spawn_target=work, target_loader=loader)

    def signal_handler_interrupt(self, *_args: object) -> None:
        self._stop.note()

    def signal_handler_reload(self, *_args: object) -> None:
        """SIGHUP: there is nothing to read anew, and workers need not be replaced for it."""

    def shutdown(self, exit_code: int = 0) -> None:
        try:
            super().shutdown(exit_code)  # type: ignore[no-untyped-call]
        except SystemExit:
            # Who tells all processes at once to stop has the workers end before they are told from here,
            # which Granian takes for a failure.
            if not self._stop.given:
                raise

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        """Replace each worker that died, whatever it died of; the others go on meanwhile.

        Granian would end all of them when one dies twice: a request that kills its process, and is repeated,
        would stop everything.
        """
        replacing = Replacing()
        while not self._stop.wait(replacing.seconds(time.monotonic())):
            dead = list(self.interrupt_children)
            del self.interrupt_children[: len(dead)]
            for each in dead:
                replacing.died(each, time.monotonic())
            if due := replacing.due(time.monotonic()):
                self._respawn_workers(due, spawn_target, target_loader)

    def _spawn_worker(self, *arguments: Any, **options: Any) -> WorkerProcess:
        worker: Any = super()._spawn_worker(*arguments, **options)
        worker.inner = JoinableByMany(worker.inner)
        return worker  # type: ignore[no-any-return]

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        if not self._stop.given:
            with self._stop.signals_blocked():
                super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]

    def _respawn_workers(
        self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0
    ) -> None:
        with self._stop.signals_blocked():
            super()._respawn_workers(workers, spawn_target, target_loader, delay)


class JoinableByMany:
    """A process of `multiprocessing` that several threads may join and ask about.

    Granian joins each worker in a thread that watches it, and again when it stops. Of two threads that
    collect the status of one process at once, `multiprocessing` tells one that the process is alive: Granian
    then took a worker that had ended for one that would not.
    """

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self._collecting = threading.Lock()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def start(self) -> None:
        self._process.start()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or so many seconds."""
        if wait([self._process.sentinel], timeout):
            with self._collecting:
                self._process.join()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        with self._collecting:
            return self._process.is_alive()


class Replacing:
    """When each worker that died is started again: at once, and after growing pauses if it keeps dying.

    All instants are monotonic seconds.
    """

    def __init__(self) -> None:
        self._short_lives: dict[int, int] = {}
        """How often in a row each has died soon after it was started."""
        self._started: dict[int, float] = {}
        self._due: dict[int, float] = {}

    def died(self, worker: int, now: float) -> None:
        """Note that a worker died."""
        lived_long = now - self._started.get(worker, 0.0) >= _SETTLED_SECONDS
        short_lives = 0 if lived_long else self._short_lives.get(worker, 0) + 1
        self._short_lives[worker] = short_lives
        self._due[worker] = now + _BACKOFF.base_seconds(short_lives)

    def due(self, now: float) -> list[int]:
        """The workers to start now, which are taken for started."""
        due = sorted(worker for worker, start_at in self._due.items() if start_at <= now)
        for worker in due:
            del self._due[worker]
            self._started[worker] = now
        return due

    def seconds(self, now: float) -> float | None:
        """Until the next one is due; None when none is."""
        return max(0.0, min(self._due.values()) - now) if self._due else None


class _Waker:
    """Stands where Granian keeps the event that the threads which watch its workers set."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop

    def set(self) -> None:
        self._stop.wake()


def work(*arguments: Any) -> None:
    """One worker: what Granian starts a process with, instead of a function of its own."""
    parent = multiprocessing.parent_process()
    stop = StopSignal()
    stop.listen()
    _answer(*arguments, stop=stop, parent=parent.pid if parent else os.getppid())


@WorkerProcess.wrap_target  # type: ignore[untyped-decorator]
def _answer(
    worker_id: int,
    front: Front,
    sock: Any,
    ipc: Any,
    loop: asyncio.AbstractEventLoop,
    runtime_mode: Any,
    runtime_threads: int,
    runtime_blocking_threads: int | None,
    blocking_threads: int,
    blocking_threads_idle_timeout: int,
    backpressure: int,
    task_impl: Any,
    http_mode: Any,
    http1_settings: Any,
    http2_settings: Any,
    websockets: bool,
    static_path: Any,
    _log_access_fmt: str | None,
    ssl_ctx: Any,
    _scope_opts: dict[str, Any],
    metrics: Any,
    *,
    stop: StopSignal,
    parent: int | None,
) -> None:
    """What Granian's own `_spawn_rsgi_worker` does, ended by `stop`, or when the parent or the loop has gone.

    The loop runs in a thread of its own, so that this one hears of signals whatever the loop is doing.
    """
    if stop.given:
        return
    runs = threading.Thread(target=loop.run_forever, name="loop", daemon=True)
    runs.start()
    _done(front.open(), loop, _START_SECONDS)
    sock = _with_impatience(*sock)
    end, ended = WorkerSignal(), threading.Event()
    end.add_cb(ended.set)  # Called by a thread of Granian's.
    make: Any = RSGIWorker  # Its description of types is that of an earlier version.
    worker = make(
        worker_id,
        sock,
        ipc,
        runtime_threads,
        runtime_blocking_threads,
        blocking_threads,
        blocking_threads_idle_timeout,
        backpressure,
        http_mode,
        http1_settings,
        http2_settings,
        websockets,
        static_path,
        *ssl_ctx,
        metrics,
    )
    serve = getattr(worker, WORKERS_METHODS[runtime_mode][(sock[0] or sock[1]).is_uds()])
    is_asyncio = task_impl == TaskImpl.asyncio
    scheduler = _new_cbscheduler(loop, front.answer, is_asyncio)  # type: ignore[no-untyped-call]
    serve(scheduler, loop, end)
    while not stop.wait(_CHECK_EVERY) and os.getppid() == parent:
        if not runs.is_alive():
            # Connections would still be accepted, and nobody would ever answer them.
            _log.critical("the event loop of a web process has ended; the process exits and is replaced")
            raise SystemExit(1)
    end.set()  # No new connections; idle ones are closed.
    with suppress(TimeoutError):
        _done(front.close(_FINISH_SECONDS), loop, _FINISH_SECONDS + _SAYING_SECONDS)
    ended.wait(_SAYING_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    runs.join(_SAYING_SECONDS)


def _with_impatience(spec: Any, holder: Any) -> tuple[None, Any]:
    """The socket to listen on, which hands down to its connections how long they wait for a client to read.

    Nothing else ends those that never read their answer: they would hold it, and a place of those that are
    accepted, for ever.
    """
    holder = holder or spec.build()
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it.
        with socket.socket(fileno=os.dup(holder.get_fd())) as same:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(IDLE_SECONDS * 1000))
    return None, holder


def _done(what: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    asyncio.run_coroutine_threadsafe(what, loop).result(seconds)


def connections_that_fit(wanted: int) -> int:
    """How many connections a process may accept, once it may open as many files as the system lets it.

    So many as wanted, or fewer, which is logged.
    """
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    unlimited = resource.RLIM_INFINITY
    if files != unlimited and files < needed:
        allowed = needed if most == unlimited else min(needed, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
        if allowed < needed:
            fit = max(_FEWEST_CONNECTIONS, allowed - _OTHER_FILES)
            _log.warning(
                "each web process accepts %d connections instead of %d: it may open only %d files",
                fit,
                wanted,
                allowed,
            )
            return fit
    return wanted
