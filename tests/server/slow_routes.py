"""`python -m tests.server.slow_routes`: the product as it is served, and routes as slow as one asks.

There is one of them for each queue; none needs a key.
"""

from __future__ import annotations

import threading
import time

from flask import Flask, Response

from licenzy.factory import create_app, run_granian
from licenzy.kit.stopping import StopSignal
from licenzy.settings import load_settings

WAIT = {
    "webhooks": "/v1/webhooks/test/wait",
    "stripe": "/v1/checkout/session/wait",
    "api": "/v1/test/wait",
    "pages": "/test/wait",
}
LARGE, BEGUN = "/v1/test/large", "/v1/test/begun"


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

    for name, path in WAIT.items():
        rule = f"{path}/<float:seconds>/<mark>"
        app.add_url_rule(rule, f"test.{name}", wait, methods=["GET", "POST"])
    app.add_url_rule(f"{LARGE}/<int:mib>", "test.large", large)
    app.add_url_rule(BEGUN, "test.begun", lambda: Response("\n".join(begun)))
    return app


if __name__ == "__main__":
    run_granian(load_settings(), "slow_routes", load, StopSignal())
