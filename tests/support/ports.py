"""Free ports and waiting for a server."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable

_FIRST, _STRIP, _STRIPS = 10_100, 2_700, 8
"""Above 10080, the last port to which a browser refuses to go."""


def free_port_pair() -> int:
    """A port that is free together with the one above it, as `licenzy serve` wants them.

    It lies below those that Linux gives to outgoing connections, which may take any of theirs before it is
    used; and each process of the tests chooses from a strip of its own.
    """
    strip = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _STRIPS
    for _ in range(200):
        port = _FIRST + strip * _STRIP + random.SystemRandom().randrange(0, _STRIP, 2)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no two neighbouring ports are free")


def answers(port: int) -> bool:
    """Whether something listens on this port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Wait for a condition with a deadline; fails with a sentence."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.02)
