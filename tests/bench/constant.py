"""The yardstick: one Flask route with a constant answer, on the server and settings of the product."""

from __future__ import annotations

from flask import Flask, Response

from licenzy.factory import run_granian
from licenzy.settings import load_settings

ANSWER = b'{"subject_ref":"user_0","allowed":true}'


def constant_app(_target: str) -> Flask:
    app = Flask("constant")

    @app.post("/v1/access/check")
    def check() -> Response:
        return Response(ANSWER, content_type="application/json; charset=utf-8")

    return app


if __name__ == "__main__":
    run_granian(load_settings(), "tests.bench.constant:constant_app", constant_app)
