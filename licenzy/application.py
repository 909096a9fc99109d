"""Flask, less what it would do for every request and nobody here needs, and with a deadline for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from licenzy.kit import deadline

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LAST_THREAD_SECONDS = 2.0
_LAST_FREE_THREAD_SECONDS = 0.3
_STUCK_SECONDS = 1.0


class Application(Flask):
    """The product as Flask runs it: addresses are told apart by path alone, and every view is a function."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What matches and builds addresses; none outside of a request.

        Which host was asked for is looked at in front of Flask (`portal/doorstep.py`); all routes have one.
        """
        if request is None:
            return None
        return MapAdapter(
            self.url_map,
            server_name="",
            script_name=request.root_path,
            subdomain="",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
            query_args=request.query_string.decode("latin-1"),
        )

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself: none of ours is asynchronous, and asking each time costs."""
        return func


class RequestDeadlines:
    """Gives each request its deadline (`kit/deadline.py`), which counts from here.

    `threads` of this process answer. Who takes the last free one gets less time, and hardly any when all
    others have been at it for long: else those who come after would wait for a thread until these give up,
    and then as long again for the database, and nobody could be told that the process lives.
    """

    def __init__(self, app: WSGIApplication, *, threads: int) -> None:
        self.wsgi_app, self._threads = app, threads
        self._arrivals: dict[int, float] = {}
        """When each request under way arrived, by its thread."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        thread, now = threading.get_ident(), time.monotonic()
        self._arrivals[thread] = now
        try:
            with deadline.within(self._seconds(now)):
                return self.wsgi_app(environ, start_response)
        finally:
            self._arrivals.pop(thread, None)

    def _seconds(self, now: float) -> float:
        if len(self._arrivals) < self._threads:
            return deadline.CALL_SECONDS
        # The dictionary changes meanwhile: a copy is made in one step.
        earlier = sorted(self._arrivals.copy().values())[: self._threads - 1]
        if earlier and now - earlier[-1] > _STUCK_SECONDS:
            return _LAST_FREE_THREAD_SECONDS
        return min(deadline.CALL_SECONDS, _LAST_THREAD_SECONDS)
