"""Flask, less what it would do for every request and nobody here needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter


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
