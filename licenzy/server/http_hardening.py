"""What every request must satisfy and every answer carries, whichever server stands in front."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

from licenzy.errors import HttpsRequired, InvalidRequest, LicenzyError
from licenzy.server.limits import declared_length, route_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PROBES = frozenset({"/healthz", "/readyz"})
"""Asked by load balancers, which know neither our name nor our certificate; they tell nothing."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ONE_YEAR = 365 * 24 * 3600
_REPLACED = "\ufffd".encode().decode("latin-1")
"""The replacement character as WSGI writes it."""


def security_headers(*, https: bool) -> list[tuple[str, str]]:
    """The headers that every answer carries unless it sets them itself."""
    headers = [
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    if https:
        headers.append(("Strict-Transport-Security", f"max-age={_ONE_YEAR}"))
    return headers


def address_problem(
    path: str, host: str, scheme: str, *, base_host: str, https: bool
) -> LicenzyError | HTTPException | None:
    """Why a request is refused for its address; `path` is written as WSGI's PATH_INFO.

    A foreign `Host` could poison links and caches. http is refused, not redirected: what was sent in clear
    has been read already, and a redirect would hide that. A path that is no UTF-8, or holds the character
    that servers put in the place of what is none, could stand for several.
    """
    if path in PROBES:
        return None
    if path.startswith("//"):
        return NotFound()  # Werkzeug would match it as if it began with one.
    if not _is_ours(host, base_host):
        return BadRequest("This server does not serve this host name.")
    if https and scheme != "https":
        return HttpsRequired()
    if not path.isascii() and not _is_text(path):
        return InvalidRequest(
            "The path is not percent-encoded UTF-8, or it contains U+FFFD.",
            hint="Use a call with the subject_ref in its body, where every character is accepted.",
        )
    return None


class Hardening:
    """Around the whole application, static files included: limits of bodies, the right address, and the
    security headers on every answer.

    It stands before Flask, where it costs a request next to nothing.
    """

    def __init__(self, app: Flask, *, base_host: str, https: bool) -> None:
        self._app, self.wsgi_app = app, app.wsgi_app
        self._base_host, self._https = base_host, https
        self._headers = security_headers(https=https)
        self._names = frozenset(name for name, _ in self._headers)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], Any]:
            for name, _ in headers:
                if name in self._names:
                    present = {name for name, _ in headers}
                    missing = [pair for pair in self._headers if pair[0] not in present]
                    return start_response(status, headers + missing, exc_info)
            return start_response(status, headers + self._headers, exc_info)

        problem = self._problem(environ)
        if problem is None:
            return self.wsgi_app(environ, start)
        with self._app.request_context(environ):
            return self._app.make_response(self._app.handle_user_exception(problem))(environ, start)

    def _problem(self, environ: WSGIEnvironment) -> LicenzyError | HTTPException | None:
        path = environ["PATH_INFO"]
        try:
            declared_length(
                environ.get("CONTENT_LENGTH"),
                is_chunked="HTTP_TRANSFER_ENCODING" in environ,
                route=route_of(path),
            )
        except LicenzyError as error:
            return error
        return address_problem(
            path,
            environ.get("HTTP_HOST", ""),
            environ["wsgi.url_scheme"],
            base_host=self._base_host,
            https=self._https,
        )


def _is_text(path: str) -> bool:
    try:
        path.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return _REPLACED not in path


@lru_cache(maxsize=256)
def _is_ours(named: str, base_host: str) -> bool:
    host = _without_port(named).lower()
    base = f"[{base_host}]" if ":" in base_host else base_host
    return host == base or (base in _LOOPBACK and host in _LOOPBACK)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (":" not in name or name.endswith("]")) else host
