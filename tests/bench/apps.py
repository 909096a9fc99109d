"""What is served beside the product to compare it with: `python -m tests.bench.apps NAME`.

The yardsticks run under Granian alone; parts of the product run under the function that serves it. All have
the same settings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from flask import Flask, Response
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server.mp import MPServer

from licenzy.api import StraightLine
from licenzy.api.access import STATEMENT
from licenzy.api_keys.rules import presented_hash
from licenzy.db.prepared import PreparedRead, ThreadConnections
from licenzy.factory import create_app, make_runtime, run_granian
from licenzy.kit.stopping import StopSignal
from licenzy.server.front import HotCall, Incoming
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


def behind_front(_target: str) -> Flask:
    """The constant route in a thread of the front's."""
    app = constant("")
    app.extensions["licenzy_on_the_loop"] = None
    return app


class _Constant(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _NoThread:
    """Answers the call on the loop with a constant."""

    calls: ClassVar[Mapping[tuple[str, str], HotCall]]

    async def open(self) -> None: ...
    async def close(self) -> None: ...


async def _answer(_incoming: Incoming) -> _Constant:
    return _Constant(200, [("Content-Type", _JSON), ("Content-Length", str(len(ANSWER)))], ANSWER)


_NoThread.calls = {("POST", "/v1/access/check"): _answer}


def on_the_loop(_target: str) -> Flask:
    """The constant answer on the loop of the front: all that a check costs besides itself."""
    app = constant("")
    app.extensions["licenzy_on_the_loop"] = _NoThread()
    return app


def bare_rsgi(_target: str) -> Any:
    """The least an RSGI application can do."""

    async def app(_scope: Any, proto: Any) -> None:
        proto.response_bytes(200, [("content-type", _JSON)], ANSWER)

    return app


YARDSTICKS = {
    "constant": (constant, Interfaces.WSGI),
    "bare": (bare, Interfaces.WSGI),
    "statement": (statement, Interfaces.WSGI),
    "bare_rsgi": (bare_rsgi, Interfaces.RSGI),
}
PARTS = {each.__name__: each for each in (plain_route, whole, behind_front, on_the_loop)}


def run_yardstick(name: str) -> None:
    """Serve one of them with Granian alone, and as many threads as the product had with it."""
    settings = load_settings()
    make, interface = YARDSTICKS[name]
    MPServer(
        f"bench:{name}",
        interface=interface,
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        blocking_threads=4 if interface is Interfaces.WSGI else 1,
        loop=Loops.uvloop,
        backpressure=512,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.warning,
    ).serve(target_loader=make)


if __name__ == "__main__":
    if sys.argv[1] in YARDSTICKS:
        run_yardstick(sys.argv[1])
    else:
        run_granian(load_settings(), f"bench:{sys.argv[1]}", PARTS[sys.argv[1]], StopSignal())
