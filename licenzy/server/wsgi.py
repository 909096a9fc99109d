"""The Flask application as the front runs it: a request made from a scope, and its answer taken whole."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

from licenzy.kit import deadline
from licenzy.server.limits import MOST_ANSWER_BYTES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UNREADABLE = "\ufffd"
"""Stands for the value of a header whose value cannot be told: it is there, and no rule accepts it."""


class Headers(Protocol):
    """The headers of a request as RSGI gives them; names are in lower case."""

    def __contains__(self, name: str, /) -> bool: ...
    def keys(self) -> list[str]: ...
    def get(self, name: str, /) -> str | None: ...
    def get_all(self, name: str, /) -> list[str]: ...


class RsgiScope(Protocol):
    """A request as RSGI gives it, without its body."""

    http_version: str
    client: str
    server: str
    scheme: str
    method: str
    path: str
    query_string: str
    headers: Headers


class WsgiResponse(NamedTuple):
    """A whole answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    file: IO[bytes] | None = None
    """Holds the body when it is large. It has no name, and whoever has the answer closes it."""


def header(headers: Headers, name: str) -> str | None:
    """The value of a header; what was sent repeatedly is joined by commas, as WSGI does it."""
    if name not in headers:
        return None
    values = headers.get_all(name)
    # Values that are not ASCII are left out.
    return ",".join(values) if values else UNREADABLE


def environ_of(scope: RsgiScope, headers: Headers, body: bytes) -> WSGIEnvironment:
    """What WSGI tells of a request."""
    server, _, server_port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server.strip("[]"),
        "SERVER_PORT": server_port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}" if "." in scope.http_version else "HTTP/1.0",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name in headers.keys():  # noqa: SIM118 - it is no dictionary
        if "_" in name:
            continue  # It would be taken for the header that is written with hyphens.
        key = name.upper().replace("-", "_")
        value = header(headers, name) or ""
        environ[key if key in _BARE else f"HTTP_{key}"] = value.encode().decode("latin-1")
    return environ


def answer_of(app: WSGIApplication, environ: WSGIEnvironment) -> WsgiResponse:
    """Run the application to the end of its answer."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    parts = _Parts()

    def start_response(
        status: str, headers: list[tuple[str, str]], _exc_info: Any = None
    ) -> Callable[[bytes], object]:
        started[:] = [(status, headers)]
        return parts.add

    answered = app(environ, start_response)
    try:
        for part in answered:
            parts.add(part)
    except BaseException:
        parts.close()
        raise
    finally:
        close = getattr(answered, "close", None)
        if close is not None:
            close()
    status, headers = started[0]
    if parts.file is not None and not any(name.lower() == "content-length" for name, _ in headers):
        headers = [*headers, ("Content-Length", str(parts.size))]
    return WsgiResponse(int(status[:3]), headers, parts.in_memory(), parts.file)


class RequestDeadline:
    """Gives each request its deadline (`kit/deadline.py`), unless who runs the application has done so."""

    def __init__(self, app: WSGIApplication) -> None:
        self.wsgi_app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if deadline.is_set():
            return self.wsgi_app(environ, start_response)
        with deadline.within(deadline.CALL_SECONDS):
            return self.wsgi_app(environ, start_response)


class _Parts:
    """Bytes in memory until they are too many."""

    def __init__(self) -> None:
        self.size = 0
        self.file: IO[bytes] | None = None
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        self.size += len(part)
        if self.file is None and self.size > MOST_ANSWER_BYTES:
            self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it outlives this function
            self.file.writelines(self._parts)
            self._parts.clear()
        if self.file is None:
            self._parts.append(part)
        else:
            self.file.write(part)

    def in_memory(self) -> bytes:
        """What is not in the file."""
        if self.file is not None:
            self.file.flush()
            self.file.seek(0)
        return b"".join(self._parts)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


_BARE = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
