"""Finished answers, handed to the server as they are, or to Flask as a response."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from flask import Response
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Reply(NamedTuple):
    """A finished answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a WSGI server, with a list: Granian sends it whole, and anything else piece by piece."""
        start_response(_STATUS_LINES[self.status], self.headers)
        return [self.body]

    def response(self) -> Response:
        """The same for Flask."""
        return _Finished(self)


class _Ready(Headers):
    """Headers that are known to be good; Werkzeug would look at each."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._list = pairs


class _Finished(Response):
    """An answer that Werkzeug need not look through on its way out: all that it would add is there."""

    def __init__(self, reply: Reply) -> None:
        # Not through Werkzeug's own constructor, which would look for a content type among the headers.
        self._reply = reply
        self.status = _STATUS_LINES[reply.status]
        self.headers = _Ready(reply.headers)
        self.response, self._on_close = [reply.body], []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = self._reply.send(start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body


_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
