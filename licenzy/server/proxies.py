"""What the trusted proxies say of a request, read as Werkzeug's ProxyFix reads it for the application."""

from __future__ import annotations

from werkzeug.http import parse_list_header

from licenzy.server.wsgi import UNREADABLE, Headers, RsgiScope, header


class TrustedProxies:
    """The proxies in front, of which there are exactly `hops`."""

    def __init__(self, hops: int) -> None:
        self._hops = hops

    def client(self, scope: RsgiScope, headers: Headers) -> str:
        """The address of the client."""
        forwarded = self._forwarded(headers, "x-forwarded-for")
        return forwarded or scope.client.rpartition(":")[0].strip("[]")

    def host(self, headers: Headers) -> str:
        """The host that was asked for; empty when none was named."""
        return self._forwarded(headers, "x-forwarded-host") or header(headers, "host") or ""

    def scheme(self, scope: RsgiScope, headers: Headers) -> str:
        """`http` or `https`."""
        return self._forwarded(headers, "x-forwarded-proto") or scope.scheme

    def _forwarded(self, headers: Headers, name: str) -> str | None:
        """What the outermost of them says."""
        if not self._hops:
            return None
        value = header(headers, name)
        if not value or value == UNREADABLE:
            return None
        values = parse_list_header(value)
        return values[-self._hops] if len(values) >= self._hops else None
