"""Refusals of the front's own, as JSON for machines and as a page for people."""

from __future__ import annotations

import orjson
from flask import Flask

from licenzy.errors import LicenzyError
from licenzy.kit.ids import new_id
from licenzy.server.http_hardening import PROBES
from licenzy.wsgi_json import JSON, refusal

RenderedRefusal = tuple[list[tuple[str, str]], bytes]
"""The headers and the body of an answer."""

_OF_A_PAGE = frozenset({"content-type", "cache-control", "vary", "hx-retarget", "hx-reswap"})


class Refusals:
    """Words them as the application does."""

    def __init__(self, app: Flask, base_url: str) -> None:
        self._app, self._base_url = app, base_url
        self._pages: dict[tuple[str, str, str | None, bool], RenderedRefusal] = {}

    def render(self, error: LicenzyError, path: str, *, by_htmx: bool) -> RenderedRefusal:
        """The answer to a request for this path."""
        is_machine = path in PROBES or path.lstrip("/").partition("/")[0].lower() == "v1"
        headers, body = _as_json(error) if is_machine else self._as_page(error, by_htmx=by_htmx)
        if error.retry_after is not None:
            headers = [*headers, ("Retry-After", str(error.retry_after))]
        return headers, body

    def _as_page(self, error: LicenzyError, *, by_htmx: bool) -> RenderedRefusal:
        """Made once and kept: it must be had when there is much to do."""
        key = (error.code, error.message, getattr(error, "to_people", None), by_htmx)
        if key not in self._pages:
            sent = {"HX-Request": "true"} if by_htmx else {}
            with self._app.test_request_context("/", base_url=self._base_url, headers=sent):
                response = self._app.make_response(self._app.handle_user_exception(error))
                body = response.get_data()
                headers = [each for each in response.headers if each[0].lower() in _OF_A_PAGE]
            self._pages[key] = ([*headers, ("Content-Length", str(len(body)))], body)
        return self._pages[key]


def json_headers(body: bytes, request_id: str) -> list[tuple[str, str]]:
    """What every answer to a machine carries."""
    return [
        ("Content-Type", JSON),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Licenzy-Request-Id", request_id),
    ]


def _as_json(error: LicenzyError) -> RenderedRefusal:
    request_id = new_id("req")
    body = orjson.dumps(refusal(error, request_id, None))
    return json_headers(body, request_id), body
