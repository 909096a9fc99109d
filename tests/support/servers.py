"""Servers over real HTTP, in threads of the test's process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from waitress.server import create_server
from waitress.wasyncore import dispatcher

from tests.support.ports import answers, wait_until
from tests.support.threads import join

WsgiApp = Callable[..., Any]


@contextmanager
def served(app: WsgiApp, *, port: int = 0, threads: int = 8) -> Iterator[str]:
    """Serve a WSGI application on a loopback port; gives its address."""
    server = create_server(
        app, host="127.0.0.1", port=port, threads=threads, clear_untrusted_proxy_headers=True
    )
    stopping = threading.Event()
    thread = threading.Thread(target=_run, args=(server, stopping), daemon=True, name="served")
    thread.start()
    bound = int(server.effective_port)
    wait_until(lambda: answers(bound), seconds=10, what="the server listens")
    try:
        yield f"http://127.0.0.1:{bound}"
    finally:
        stopping.set()
        # Closing from another thread leaves the loop polling a closed socket: wake it to see the end.
        server.trigger.pull_trigger(lambda: _stop(server))
        join(thread, seconds=10)
        server.trigger.close()


def _run(server: Any, stopping: threading.Event) -> None:
    try:
        server.run()
    except (OSError, ValueError, KeyError):
        # A connection that the client left open is polled once more after it was closed here.
        if not stopping.is_set():
            raise


def _stop(server: Any) -> None:
    server.task_dispatcher.shutdown()
    for channel in list(server._map.values()):
        # Whoever pulls the trigger may not have let go of it yet; the server's own `close` closes it, too.
        if channel is server:
            dispatcher.close(server)
        elif channel is not server.trigger:
            channel.close()
    server._map.clear()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port of this machine where connections are accepted, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening.getsockname()[1]
