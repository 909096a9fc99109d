"""The sandbox over HTTP, until the process shall stop."""

from __future__ import annotations

from typing import Any, Protocol

import waitress
from waitress.wasyncore import file_dispatcher

from licenzy.stripe_sandbox.app import Sandbox

_THREADS = 16


class ShutdownSignal(Protocol):
    """How the process learns that it shall stop."""

    def fileno(self) -> int:
        """A descriptor that can be read when there is a reason to call `wait`."""

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it shall stop, after at most so many seconds."""


def serve(sandbox: Sandbox, *, host: str, port: int, stop: ShutdownSignal) -> None:
    """Serve it in the main thread until `stop` says so.

    Requests under way then have five seconds, and the sandbox is closed.
    """
    sockets: dict[int, Any] = {}
    server = waitress.create_server(
        sandbox,
        map=sockets,
        host=host,
        port=port,
        threads=_THREADS,
        ident=None,
        clear_untrusted_proxy_headers=True,
    )
    listener = _StopListener(stop, sockets)
    try:
        server.run()
    finally:
        listener.close()
        sandbox.close()


class _StopListener(file_dispatcher):  # type: ignore[misc]
    """Ends waitress's loop between two things that it does, by the exception that waitress stops for."""

    def __init__(self, stop: ShutdownSignal, sockets: dict[int, Any]) -> None:
        super().__init__(stop.fileno(), sockets)  # Which it duplicates.
        self._stop = stop

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        if self._stop.wait(0):
            raise SystemExit
