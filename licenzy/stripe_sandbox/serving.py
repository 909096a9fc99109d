"""The sandbox over HTTP, until the process is told to stop."""

from __future__ import annotations

from typing import Any

import waitress
from waitress.wasyncore import file_dispatcher

from licenzy.kit.stopping import StopSignal
from licenzy.stripe_sandbox.app import Sandbox

_THREADS = 16


def serve(sandbox: Sandbox, *, host: str, port: int, stop: StopSignal) -> None:
    """Serve it in the main thread until told to stop.

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
    ear = _Ear(stop, sockets)
    try:
        server.run()
    finally:
        ear.close()
        sandbox.close()


class _Ear(file_dispatcher):  # type: ignore[misc]
    """Ends waitress's loop between two things that it does, by the exception that waitress stops for."""

    def __init__(self, stop: StopSignal, sockets: dict[int, Any]) -> None:
        super().__init__(stop.fileno(), sockets)  # Which it duplicates.
        self._stop = stop

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        if self._stop.wait(0):
            raise SystemExit
