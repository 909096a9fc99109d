"""A server that takes connections and never answers, as Stripe on its worst day."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_server() -> Iterator[tuple[str, list[socket.socket]]]:
    """Takes connections and says nothing; gives its address and who came."""
    came: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:

        def take() -> None:
            while True:
                try:
                    came.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", came
        listener.shutdown(socket.SHUT_RDWR)
    for each in came:
        each.close()
