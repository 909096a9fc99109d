"""Free ports and waiting for a server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def free_port_pair() -> int:
    """A port that is free together with the one above it, as `licenzy serve` wants them."""
    for _ in range(200):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
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
