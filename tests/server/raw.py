"""Requests byte by byte, as no client library would send them, and what comes back."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawAnswer:
    """An answer; status 0 where the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool
    """Whether the server closed the connection after it."""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code; empty for a page and for a success."""
        is_json = self.headers.get("content-type", "").startswith("application/json")
        return str(self.json().get("error", "")) if is_json and self.body else ""


class RawConnection:
    """One connection."""

    def __init__(self, port: int, *sent: bytes, timeout: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.began = time.monotonic()
        self.send(*sent)

    def send(self, *sent: bytes) -> None:
        for each in sent:
            self.socket.sendall(each)

    def hear(self, *, is_head: bool = False) -> RawAnswer:
        """The next answer."""
        heard = b""
        with contextlib.suppress(ConnectionError):
            while b"\r\n\r\n" not in heard and (more := self.socket.recv(65_536)):
                heard += more
        head, _, body = heard.partition(b"\r\n\r\n")
        if not head:
            return RawAnswer(0, {}, b"", closed=True)
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = 0 if is_head else int(headers.get("content-length", "0"))
        while len(body) < length and (more := self.socket.recv(1 << 20)):
            body += more
        return RawAnswer(int(start.split(" ")[1]), headers, body, closed=headers.get("connection") == "close")

    def ends(self) -> float:
        """Wait until the server closes, whatever it says before; the seconds since the connection began."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65_536):
                pass
        return time.monotonic() - self.began

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def request(line: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    """The bytes of a request; with `length` its body is announced as so long, whatever it is."""
    announced = len(body) if length is None else length
    counted = [f"Content-Length: {announced}"] if announced or line.startswith("POST") else []
    return (
        "\r\n".join([f"{line} HTTP/1.1", "Host: 127.0.0.1", *counted, *headers, "", ""]).encode("latin-1")
        + body
    )


def ask(port: int, sent: bytes, *, timeout: float = 20) -> RawAnswer:
    """Send a request on a connection of its own."""
    with RawConnection(port, sent, timeout=timeout) as line:
        return line.hear(is_head=sent.startswith(b"HEAD"))
