"""What every answer carries and every request must satisfy, before any page is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, request
from werkzeug.exceptions import BadRequest, NotFound

from licenzy.errors import HttpsRequired
from licenzy.settings import Settings

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


class Doorstep:
    """Around the whole application, static files included: no look at it without the right address, and
    the security headers on every answer.

    It stands before Flask, where it costs a request next to nothing.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app, self.wsgi_app = app, app.wsgi_app
        self._base_host, self._https = settings.base_host, settings.https
        self._headers = security_headers(https=settings.https)
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

        problem = self._address_problem(environ)
        if problem is None:
            return self.wsgi_app(environ, start)
        with self._app.request_context(environ):
            return self._app.make_response(self._app.handle_user_exception(problem))(environ, start)

    def _address_problem(self, environ: WSGIEnvironment) -> Exception | None:
        """Why a request is refused that names another host, or comes by http to an https installation.

        A foreign `Host` could poison links and caches. http is refused, not redirected: what was sent
        in clear has been read already, and a redirect would hide that.
        """
        path = environ["PATH_INFO"]
        if path in PROBES:
            return None
        if path.startswith("//"):
            return NotFound()  # Werkzeug would match it as if it began with one.
        if not _is_ours(environ.get("HTTP_HOST", ""), self._base_host):
            return BadRequest("This server does not answer to that host name.")
        if self._https and environ["wsgi.url_scheme"] != "https":
            return HttpsRequired()
        return None


def refuse_nul() -> None:
    """Refuse pages and forms that are asked for with a NUL anywhere.

    No browser sends one, and Postgres cannot even look for a text that holds it.
    """
    sent = (texts for given in (request.args, request.form) for texts in given.listvalues())
    if "\0" in request.path or any("\0" in text for texts in sent for text in texts):
        abort(400)


def no_store(response: Response) -> Response:
    """Keep pages out of caches and out of the back button's reach after signing out."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@lru_cache(maxsize=256)
def _is_ours(named: str, base_host: str) -> bool:
    host = _without_port(named).lower()
    base = f"[{base_host}]" if ":" in base_host else base_host
    return host == base or (base in _LOOPBACK and host in _LOOPBACK)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (":" not in name or name.endswith("]")) else host
