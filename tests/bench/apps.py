"""What is served beside the product to compare it with: `python -m tests.bench.apps NAME`.

Each runs under the very function that serves the product, with the same settings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response

from licenzy.factory import create_app, run_granian
from licenzy.kit.stopping import StopSignal
from licenzy.settings import load_settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ANSWER = b'{"subject_ref":"user_0","allowed":true}'
_JSON = "application/json; charset=utf-8"


def constant(_target: str) -> Flask:
    """One Flask route with a constant answer: the yardstick."""
    app = Flask("constant")

    @app.post("/v1/access/check")
    def check() -> Response:
        return Response(ANSWER, content_type=_JSON)

    return app


def bare(_target: str) -> Any:
    """The least a WSGI application can do."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", _JSON), ("Content-Length", str(len(ANSWER)))])
        return (ANSWER,)

    return app


def whole(_target: str) -> Flask:
    """The product as it is served."""
    return create_app(load_settings())


APPS = {each.__name__: each for each in (constant, bare, whole)}

if __name__ == "__main__":
    run_granian(load_settings(), f"bench:{sys.argv[1]}", APPS[sys.argv[1]], StopSignal())
