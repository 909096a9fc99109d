"""Granian's server of several processes, with signals that are only noted.

Its own handlers set the very `threading.Event` that its main thread waits on, which can hang for good, and
one more signal while workers are started or replaced could be forgotten.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from granian._futures import _new_cbscheduler
from granian._granian import WorkerSignal, WSGIWorker
from granian.constants import TaskImpl
from granian.log import logger
from granian.server.common import WORKERS_METHODS
from granian.server.mp import MPServer, WorkerProcess
from granian.wsgi import _callback_wrapper

from licenzy.kit.stopping import StopSignal

_LOOK_EVERY = 1.0
_FINISH_SECONDS = 6.0
"""How long a worker waits for requests under way. Less than Granian gives it before it is killed."""
_TOO_SOON_SECONDS = 5.5


class WebServer(MPServer):
    """Granian's main process. It stops when `stop` says so, and passes that on to its workers."""

    def __init__(self, *arguments: Any, stop: StopSignal, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stop = stop
        self.main_loop_interrupt = _Waker(stop)  # type: ignore[assignment]

    def run(self, loader: Callable[[str], Any]) -> None:
        """Serve what `loader` gives, in each worker, until told to stop."""
        self.serve(spawn_target=work, target_loader=loader)

    def signal_handler_interrupt(self, *_told: object) -> None:
        self._stop.note()

    def signal_handler_reload(self, *_told: object) -> None:
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
        while not self._stop.wait():
            dead = list(self.interrupt_children)
            if not dead:
                continue
            now = time.monotonic()
            if any(now - self.respawned_wrks.get(each, 0.0) <= _TOO_SOON_SECONDS for each in dead):
                logger.error("Worker crash loop detected, exiting")
                return
            del self.interrupt_children[: len(dead)]
            self.respawned_wrks.clear()
            self._respawn_workers(dead, spawn_target, target_loader)

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        if not self._stop.given:
            with self._stop.held_back():
                super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]

    def _respawn_workers(
        self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0
    ) -> None:
        with self._stop.held_back():
            super()._respawn_workers(workers, spawn_target, target_loader, delay)


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
    callback: Any,
    sock: Any,
    ipc: Any,
    loop: Any,
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
    _websockets: bool,
    static_path: Any,
    log_access_fmt: str | None,
    ssl_ctx: Any,
    scope_opts: dict[str, Any],
    metrics: Any,
    *,
    stop: StopSignal,
    parent: int | None,
) -> None:
    """What Granian's own `_spawn_wsgi_worker` does, ended by `stop`, or when the parent has gone."""
    if stop.given:
        return
    end, ended = WorkerSignal(), threading.Event()
    end.add_cb(ended.set)  # Called by a thread of Granian's.
    make: Any = WSGIWorker  # Its description of types is that of an earlier version.
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
        static_path,
        *ssl_ctx,
        metrics,
    )
    serve = getattr(worker, WORKERS_METHODS[runtime_mode][(sock[0] or sock[1]).is_uds()])
    answer = _callback_wrapper(callback, scope_opts, log_access_fmt)
    is_asyncio = task_impl == TaskImpl.asyncio
    scheduler = _new_cbscheduler(loop, answer, is_asyncio)  # type: ignore[no-untyped-call]
    serve(scheduler, loop, end)
    while not stop.wait(_LOOK_EVERY) and os.getppid() == parent:
        pass
    end.set()
    ended.wait(_FINISH_SECONDS)
