"""Serves Licenzy with extra test routes. `WAIT` has one per queue, which sleeps; none needs an API key.

Started by `test_front.py` as `python -m tests.server.slow_routes`.
"""

from __future__ import annotations

import json
import threading
import time

from flask import Flask, Response

from licenzy.api.reply import Reply
from licenzy.factory import create_app, run_granian
from licenzy.kit import deadline
from licenzy.kit.stopping import StopSignal
from licenzy.server.front import RsgiRequest
from licenzy.settings import load_settings

WAIT = {
    "webhooks": "/v1/webhooks/test/wait",
    "stripe": "/v1/checkout/session/wait",
    "api": "/v1/test/wait",
    "pages": "/test/wait",
}
"""Each path begins with a prefix of `ROUTES` in `licenzy/server/limits.py`, which chooses the queue."""
LARGE, SECONDS_LEFT, RAISES_EXIT = "/v1/test/large", "/v1/test/seconds-left", "/v1/test/raises-exit"
STARTED = "/v1/test/started"
"""The labels of the waits that a thread has started; answered on the loop, also when all threads wait."""
ECHO = "/v1/test/echo"


class EchoOnLoop:
    """Answers calls of ECHO on the loop with what it received, unless a header says otherwise."""

    def __init__(self, started_labels: list[str]) -> None:
        self.calls = {("POST", ECHO): self.echo, ("GET", STARTED): self.started}
        self.opened = False
        self._started_labels = started_labels

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        # test_front.py expects this line, and no other, as the log of a server that stopped well.
        print("closed", flush=True)

    async def started(self, _incoming: RsgiRequest) -> Reply | None:
        return _reply("text/plain", "\n".join(self._started_labels))

    async def echo(self, incoming: RsgiRequest) -> Reply | None:
        if incoming.header("x-to-flask") is not None:
            return None
        if incoming.header("x-fail") is not None:
            raise RuntimeError("on purpose")
        if incoming.header("x-exit") is not None:
            raise SystemExit("on purpose")
        received = {
            "opened": self.opened,
            "method": incoming.method,
            "path": incoming.path,
            "query": incoming.query,
            "body": incoming.body.decode(),
            "once": incoming.header("x-once"),
            "twice": incoming.header("x-twice"),
            "never": incoming.header("x-never"),
            "odd": incoming.header("x-odd"),
            "age": time.monotonic() - incoming.arrived,
        }
        return _reply("application/json", json.dumps(received))


def _reply(content_type: str, text: str) -> Reply:
    body = text.encode()
    return Reply(200, [("Content-Type", content_type), ("Content-Length", str(len(body)))], body)


def load(_target: str) -> Flask:
    """The application, as Granian's loader calls for it: with the target's name, which is not needed."""
    app = create_app()
    started_labels: list[str] = []
    lock = threading.Lock()

    def wait(seconds: float, label: str) -> Response:
        with lock:
            started_labels.append(label)
        time.sleep(seconds)
        return Response(label)

    def large(mib: int) -> Response:
        return Response(b"\r\n0123456789abcd" * (65_536 * mib), content_type="application/octet-stream")

    def raise_exit() -> Response:
        raise SystemExit("on purpose")

    for name, path in WAIT.items():
        app.add_url_rule(f"{path}/<float:seconds>/<label>", f"test.{name}", wait, methods=["POST"])
    app.add_url_rule(f"{LARGE}/<int:mib>", "test.large", large)
    app.add_url_rule(RAISES_EXIT, "test.raises_exit", raise_exit)
    app.add_url_rule(SECONDS_LEFT, "test.seconds_left", lambda: Response(str(deadline.seconds_left())))
    app.add_url_rule(ECHO, "test.echo", lambda: Response("by Flask"), methods=["POST"])
    app.extensions["licenzy_on_the_loop"] = EchoOnLoop(started_labels)
    return app


if __name__ == "__main__":
    run_granian(load_settings(), "slow_routes", load, StopSignal())
