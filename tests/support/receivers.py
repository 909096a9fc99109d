"""Receivers of webhooks on this machine: they note what comes, and answer as a test wants it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[socket.socket, Request], None]


def answering(raw: bytes) -> Answer:
    """An answer of these very bytes."""
    return lambda sock, _request: sock.sendall(raw)


def status(code: int, *more: str, body: bytes = b"") -> Answer:
    """A plain answer of a status, with more header lines."""
    lines = [f"HTTP/1.1 {code} Status", *more, f"Content-Length: {len(body)}", "Connection: close"]
    return answering("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


FINE = answering(OK)


@dataclass
class Receiver:
    """A small server: `requests` are those that came, `answer` may be changed at any time."""

    port: int
    answer: Answer = FINE
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def receiver(answer: Answer = FINE, *, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """A receiver that listens until the block ends; each connection has a thread of its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, 0))
    listener.listen(512)
    made = Receiver(listener.getsockname()[1], answer)
    stopped = threading.Event()

    def serve(sock: socket.socket) -> None:
        with sock:
            try:
                request = read_request(sock)
                if request is not None:
                    made.requests.append(request)
                    made.answer(sock, request)
            except OSError:
                pass  # The sender has hung up, as it should sometimes.

    def accept() -> None:
        while not stopped.is_set():
            try:
                sock, _address = listener.accept()
            except OSError:
                return
            made.connections += 1
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield made
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def read_request(sock: socket.socket) -> Request | None:
    """The next request of a connection; None when it was closed before the end of one."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        if not (chunk := sock.recv(65536)):
            return None
        raw += chunk
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        if not (chunk := sock.recv(65536)):
            return None
        body += chunk
    return Request(first.split(" ")[1], headers, body)
