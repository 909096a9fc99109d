"""`python -m tests.exactness.client …`: a merchant's backend that consumes, and repeats what it is unsure of.

Every key is sent at least twice: once, and again some calls later. A call whose connection breaks, and one
that is told to come back, is sent again with the same key until it is answered. What was heard is
written down, one JSON line for each answer and each broken call. Nothing of the product is imported.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

LATER = 40
"""After how many other calls a key is sent again."""
GIVE_UP_SECONDS = 120.0


class Connection:
    """One kept-alive connection to the product, opened anew when it breaks."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self._socket: socket.socket | None = None

    def post(self, path: str, body: bytes, key: str) -> tuple[int, bool, str]:
        """Status, whether it was a replay, and body. Raises OSError when the connection breaks."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            head = f"POST {path} HTTP/1.1\r\n{self._head}Idempotency-Key: {key}\r\n"
            self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            return self._answer(self._socket)
        except OSError:
            self._socket, broken = None, self._socket
            if broken is not None:
                broken.close()
            raise

    def _answer(self, connection: socket.socket) -> tuple[int, bool, str]:
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += _more(connection)
        head, _, body = heard.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(headers["content-length"]):
            body += _more(connection)
        return int(lines[0].split(" ")[1]), "idempotent-replayed" in headers, body.decode()


def _more(connection: socket.socket) -> bytes:
    heard = connection.recv(65_536)
    if not heard:
        raise ConnectionError("the server went away")
    return heard


class Backend:
    """Makes the calls of one process."""

    def __init__(self, asked: argparse.Namespace, log: Any) -> None:
        self._line = Connection(asked.port, asked.token)
        self._name = asked.name
        self._subjects: list[str] = asked.subjects.split(",")
        self._chance = random.Random(f"{asked.seed} {asked.name}")
        self._log = log

    def run(self, count: int, until: Path) -> None:
        """Consume at least `count` times and until a file is there, each under its own key, said twice."""
        again: deque[tuple[str, str, int]] = deque()
        for number in itertools.count():
            if number >= count and until.exists():
                break
            call = f"{self._name}-{number}", self._subject(), self._chance.randint(1, 9)
            self._say(call)
            again.append(call)
            if len(again) > LATER:
                self._say(again.popleft())
        while again:
            self._say(again.popleft())

    def _subject(self) -> str:
        """Every second call goes to the first subject, which all processes fight for."""
        return self._subjects[0] if self._chance.random() < 0.5 else self._chance.choice(self._subjects[1:])

    def _say(self, call: tuple[str, str, int]) -> None:
        key, subject, units = call
        body = json.dumps({"subject_ref": subject, "units": units}).encode()
        until = time.monotonic() + GIVE_UP_SECONDS
        told = {"key": key, "subject": subject, "units": units}
        while time.monotonic() < until:
            try:
                status, replayed, answer = self._line.post("/v1/usage/consume", body, key)
            except OSError as error:
                self._note(told | {"broken": type(error).__name__, "at": time.monotonic()})
                time.sleep(0.02)
                continue
            self._note(told | {"status": status, "replayed": replayed, "body": answer})
            if status not in {429, 503}:
                return
            time.sleep(0.05)
        self._note(told | {"given_up": True})

    def _note(self, line: dict[str, Any]) -> None:
        self._log.write(json.dumps(line) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--token")
    parser.add_argument("--name")
    parser.add_argument("--seed")
    parser.add_argument("--count", type=int)
    parser.add_argument("--subjects")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--until", type=Path)
    asked = parser.parse_args()
    with asked.log.open("w") as log:
        Backend(asked, log).run(asked.count, asked.until)


if __name__ == "__main__":
    main()
