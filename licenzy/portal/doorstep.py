"""What every answer carries and every request must satisfy, before any page is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Response, abort, request

from licenzy.errors import HttpsRequired
from licenzy.runtime import runtime

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

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


class SecurityHeaders:
    """Adds the security headers as the answer leaves: one list operation, also around static files."""

    def __init__(self, app: WSGIApplication, *, https: bool) -> None:
        self._app = app
        self._headers = [(name, name.lower(), value) for name, value in security_headers(https=https)]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], Any]:
            present = {name.lower() for name, _ in headers}
            added = [(name, value) for name, low, value in self._headers if low not in present]
            return start_response(status, headers + added, exc_info)

        return self._app(environ, start)


def check_address() -> None:
    """Refuse requests that name another host, or that come by http to an https installation.

    A foreign `Host` could poison links and caches. http is refused, not redirected: what was sent in
    clear has been read already, and a redirect would hide that.
    """
    if request.path in PROBES:
        return
    settings = runtime().settings
    if not _is_ours(request.environ.get("HTTP_HOST", ""), settings.base_host):
        abort(400, "This server does not answer to that host name.")
    if settings.https and request.environ["wsgi.url_scheme"] != "https":
        raise HttpsRequired


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
