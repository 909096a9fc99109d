"""What trusted proxies say is read in front of the application as the application reads it."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from licenzy.server.proxies import TrustedProxies
from licenzy.server.wsgi import environ_of


class Sent:
    """The headers of a request, as RSGI gives them."""

    def __init__(self, *sent: tuple[str, str]) -> None:
        self._sent = sent

    def __contains__(self, name: str) -> bool:
        return any(each == name for each, _ in self._sent)

    def keys(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._sent))

    def get(self, name: str) -> str | None:
        return next(iter(self.get_all(name)), None)

    def get_all(self, name: str) -> list[str]:
        return [value for each, value in self._sent if each == name and value.isascii()]


class PlainScope:
    http_version, method, path, query_string = "1.1", "GET", "/é\ufffd", ""
    client, server, scheme = "10.0.0.9:5000", "10.0.0.1:8000", "http"

    def __init__(self, headers: Sent) -> None:
        self.headers = headers


HEADERS = [
    (),
    (("host", "a.example"),),
    (("host", "a.example"), ("x-forwarded-host", "b.example")),
    (("x-forwarded-for", "1.1.1.1"),),
    (("x-forwarded-for", "1.1.1.1, 2.2.2.2"),),
    (("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")),
    (("x-forwarded-for", ""),),
    (("x-forwarded-for", ",,"),),
    (("x-forwarded-for", '"1.1.1.1, x", 3.3.3.3'),),
    (("x-forwarded-proto", "https"), ("x-forwarded-host", "b.example, c.example"), ("host", "a.example")),
    (("x-forwarded-proto", "https,http"), ("x_forwarded_for", "6.6.6.6")),
]


@pytest.mark.parametrize("hops", [0, 1, 2])
@pytest.mark.parametrize("sent", HEADERS, ids=str)
def test_both_read_the_same(hops: int, sent: tuple[tuple[str, str], ...]) -> None:
    headers = Sent(*sent)
    scope = PlainScope(headers)
    told: list[tuple[str, str, str]] = []

    def app(environ: dict[str, Any], _start: Any) -> list[bytes]:
        told.append((environ["REMOTE_ADDR"], environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"]))
        return []

    ProxyFix(app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=0)(environ_of(scope, headers, b""), None)  # type: ignore[arg-type]
    proxies = TrustedProxies(hops)
    assert told == [(proxies.client(scope, headers), proxies.host(headers), proxies.scheme(scope, headers))]


def test_an_environ_holds_what_wsgi_says() -> None:
    headers = Sent(
        ("content-type", "a/b"),
        ("content-length", "2"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x_b", "3"),
        ("x-c", "é"),
    )
    environ = environ_of(PlainScope(headers), headers, b"{}")
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/é\ufffd"
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "2")
    assert environ["HTTP_X_A"] == "1,2"
    assert environ["HTTP_X_C"].encode("latin-1").decode() == "\ufffd"
    assert "HTTP_X_B" not in environ
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_PORT"]) == (
        "10.0.0.1",
        "8000",
        "5000",
    )
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["wsgi.input"].read() == b"{}"
