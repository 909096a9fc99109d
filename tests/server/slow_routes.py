"""`python -m tests.server.slow_routes`: the product as it is served, and routes as slow as one asks.

There is one of them for each queue; none needs a key.
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
LARGE, BEGUN, LEFT = "/v1/test/large", "/v1/test/begun", "/v1/test/left"
LEAVES = "/v1/test/leaves"
HOT = "/v1/test/hot"


class OnTheLoop:
    """Answers a call on the loop with what it was handed, and leaves to Flask what asks for it."""

    def __init__(self) -> None:
        self.calls = {("POST", HOT): self.tell}
        self.opened = False

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        print("closed", flush=True)

    async def tell(self, incoming: RsgiRequest) -> Reply | None:
        if incoming.header("x-leave") is not None:
            return None
        if incoming.header("x-fail") is not None:
            raise RuntimeError("on purpose")
        if incoming.header("x-end") is not None:
            raise SystemExit("on purpose")
        told = {
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
        body = json.dumps(told).encode()
        return Reply(200, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body)


def load(_target: str) -> Flask:
    app = create_app()
    begun: list[str] = []
    guard = threading.Lock()

    def wait(seconds: float, mark: str) -> Response:
        with guard:
            begun.append(mark)
        time.sleep(seconds)
        return Response(mark)

    def large(mib: int) -> Response:
        return Response(b"\r\n0123456789abcd" * (65_536 * mib), content_type="application/octet-stream")

    def leave() -> Response:
        raise SystemExit("on purpose")

    for name, path in WAIT.items():
        rule = f"{path}/<float:seconds>/<mark>"
        app.add_url_rule(rule, f"test.{name}", wait, methods=["GET", "POST"])
    app.add_url_rule(f"{LARGE}/<int:mib>", "test.large", large)
    app.add_url_rule(LEAVES, "test.leaves", leave)
    app.add_url_rule(LEFT, "test.left", lambda: Response(str(deadline.seconds_left())))
    app.add_url_rule(HOT, "test.hot", lambda: Response("by Flask"), methods=["POST"])
    app.extensions["licenzy_on_the_loop"] = OnTheLoop()
    app.add_url_rule(BEGUN, "test.begun", lambda: Response("\n".join(begun)))
    return app


if __name__ == "__main__":
    run_granian(load_settings(), "slow_routes", load, StopSignal())
