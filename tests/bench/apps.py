"""What is served beside the product to compare it with: `python -m tests.bench.apps NAME`.

Each runs under the very function that serves the product, with the same settings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Flask, Response
from licenzy.db.prepared import PreparedRead, ThreadConnections

from licenzy.api import StraightLine
from licenzy.api.access import STATEMENT
from licenzy.api_keys.rules import presented_hash
from licenzy.factory import create_app, make_runtime, run_granian
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


def statement(_target: str) -> Any:
    """What no access check can do without: the request, the one statement, an answer. Nothing is decided."""
    runtime = make_runtime(load_settings())
    read = PreparedRead(ThreadConnections(runtime.database), STATEMENT)
    key_hash = cache(presented_hash)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        _name, _, ref = body.decode().rpartition(': "')
        _scheme, _, key = environ["HTTP_AUTHORIZATION"].partition(" ")
        assert read.rows(key_hash=key_hash(key), subject_ref=ref.removesuffix('"}'))
        start_response("200 OK", [("Content-Type", _JSON), ("Content-Length", str(len(ANSWER)))])
        return [ANSWER]

    return app


def plain_route(_target: str) -> Flask:
    """The product with nothing in front of Flask: the access check is a route like any other."""
    app = create_app(load_settings())
    around: Any = app
    while not isinstance(around.wsgi_app, StraightLine):
        around = around.wsgi_app
    around.wsgi_app = around.wsgi_app.wsgi_app
    return app


def whole(_target: str) -> Flask:
    """The product as it is served."""
    return create_app(load_settings())


APPS = {each.__name__: each for each in (constant, bare, statement, plain_route, whole)}

if __name__ == "__main__":
    run_granian(load_settings(), f"bench:{sys.argv[1]}", APPS[sys.argv[1]], StopSignal())
