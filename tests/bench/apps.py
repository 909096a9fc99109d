"""What the product is compared with: `python -m tests.bench.apps NAME PORT`.

The first two know nothing of the product, so that they are the same whatever version is measured. The third
makes its settings in LICENZY_INSTANCE.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

from flask import Flask, Response
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

WORKERS = int(os.environ.get("BENCH_WORKERS", "2"))
"""Processes that answer: of these applications and of the product alike."""
THREADS = 4
"""Threads of each that answer by WSGI."""

ANSWER = b'{"subject_ref":"user_0","allowed":true}'
_JSON = "application/json; charset=utf-8"
_HEADERS = [("content-type", _JSON), ("content-length", str(len(ANSWER)))]
_FRONT = "licenzy.server.front"


def constant() -> Flask:
    """One Flask route with a constant answer: what everything is a ratio of."""
    app = Flask("constant")

    @app.post("/v1/access/check")
    def check() -> Response:
        return Response(ANSWER, content_type=_JSON)

    return app


async def no_op(_scope: Any, protocol: Any) -> None:
    """The least an RSGI application can do."""
    protocol.response_bytes(200, _HEADERS, ANSWER)


def has_front() -> bool:
    """Whether this version of the product has a front that an application can stand behind."""
    return find_spec(_FRONT) is not None


def serve_constant(port: int) -> None:
    """The constant route on Granian's WSGI."""
    _serve("constant", port, factory=True, interface=Interfaces.WSGI, blocking_threads=THREADS)


def serve_no_op(port: int) -> None:
    """The least application on Granian's RSGI and uvloop."""
    _serve("no_op", port, interface=Interfaces.RSGI, loop=Loops.uvloop)


def serve_behind_front(port: int) -> None:
    """The constant route as the product's own application is served: behind its front, in its threads."""
    from licenzy.factory import run_granian
    from licenzy.kit.stopping import StopSignal
    from licenzy.settings import load_settings

    settings = load_settings({**os.environ, "LICENZY_PORT": str(port), "LICENZY_WORKERS": str(WORKERS)})
    run_granian(settings, "tests.bench.apps:constant", lambda _target: constant(), StopSignal())


def _serve(target: str, port: int, **options: Any) -> None:
    Granian(
        f"tests.bench.apps:{target}",
        port=port,
        workers=WORKERS,
        backpressure=512,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=32 * 1024),
        websockets=False,
        log_level=LogLevels.warning,
        **options,
    ).serve()


SERVE = {"constant": serve_constant, "no_op": serve_no_op, "behind_front": serve_behind_front}

if __name__ == "__main__":
    SERVE[sys.argv[1]](int(sys.argv[2]))
