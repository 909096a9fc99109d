"""Licenzy behind nginx and Caddy, with the very lines of the guide."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import httpx
import pytest

from licenzy.kit.ids import new_id
from licenzy.server.http_hardening import security_headers
from tests.proxies.conftest import REFS, SECRET, ProxiedShop
from tests.support.cast import PASSWORD
from tests.support.ports import wait_until
from tests.support.proxies import HOST, Proxy, nginx
from tests.support.purchases import event, signed

pytestmark = pytest.mark.slow

KIB = 1024


def big_event(size: int) -> tuple[bytes, dict[str, str], str]:
    """A signed event with a body of so many bytes, its headers and its id."""
    value = event("invoice.created", {"id": "in_1", "object": "invoice", "description": ""})
    value["data"]["object"]["description"] = "x" * (size - len(json.dumps(value)))
    body, headers = signed(value, SECRET, at=datetime.now(UTC))
    assert len(body) == size
    return body, headers, str(value["id"])


def token_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def sign_in(
    client: httpx.Client,
    password: str,
    headers: Mapping[str, str] | None = None,
    *,
    email: str = "owner@example.com",
) -> httpx.Response:
    token = token_of(client.get("/sign-in"))
    return client.post(
        "/sign-in",
        data={"email": email, "password": password, "csrf_token": token},
        headers={"Origin": f"https://{HOST}", "Referer": f"https://{HOST}/sign-in", **(headers or {})},
    )


def test_checks_and_consumes(shop: ProxiedShop, proxy: Proxy) -> None:
    with proxy.client() as client:
        answer = shop.check(client)
        assert (answer.status_code, answer.json()["allowed"]) == (200, True)
        headers = {**shop.headers, "Idempotency-Key": new_id("x")}
        asked = {"subject_ref": "user_1", "units": 7}
        first, again = (client.post("/v1/usage/consume", json=asked, headers=headers) for _ in range(2))
    assert first.status_code == 200, first.text
    assert again.content == first.content
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")


def test_a_large_webhook_arrives_byte_by_byte(shop: ProxiedShop, proxy: Proxy) -> None:
    body, headers, event_id = big_event(900 * KIB)
    with proxy.client() as client:
        answer = client.post(shop.webhook, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert event_id in shop.events()


@pytest.mark.parametrize("size", [1229 * KIB, 8000 * KIB])
def test_a_webhook_that_is_too_large_is_refused(shop: ProxiedShop, proxy: Proxy, size: int) -> None:
    body, headers, event_id = big_event(size)
    for _ in range(3):
        with proxy.client() as client:
            assert client.post(shop.webhook, content=body, headers=headers).status_code == 413
    assert event_id not in shop.events()


@pytest.mark.parametrize(
    "path", ["/v1/access/check", "/v1/usage/consume", "/v1/checkout/session", "/sign-in"]
)
def test_other_bodies_are_refused_above_64_kib(shop: ProxiedShop, proxy: Proxy, path: str) -> None:
    headers = {**shop.headers, "Content-Type": "application/json", "Idempotency-Key": new_id("x")}
    if path == "/sign-in":
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    with proxy.client() as client:
        assert client.post(path, content=b"x" * 100 * KIB, headers=headers).status_code == 413


def test_a_body_without_a_length(shop: ProxiedShop, proxy: Proxy) -> None:
    """nginx collects it and then knows its length; Caddy passes it on, and it is refused."""
    headers = {**shop.headers, "Content-Type": "application/json"}
    with proxy.client() as client:
        answer = client.post(
            "/v1/access/check", content=iter([b'{"subject_ref":', b' "user_1"}']), headers=headers
        )
        assert answer.status_code == {"nginx": 200, "caddy": 413}[proxy.name]
        assert shop.check(client).status_code == 200


@pytest.mark.parametrize("sent", REFS)
def test_subjects_in_addresses_arrive_unchanged(shop: ProxiedShop, proxy: Proxy, sent: str) -> None:
    path = f"/v1/customer/access/{sent}"
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    # Written by hand: clients have ideas of their own about addresses.
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in shop.headers.items())
        connection.sendall(f"{head}\r\n".encode())
        with connection.makefile("rb") as answer:
            status, _, rest = answer.read().partition(b"\r\n")
    assert b"200" in status, (status, rest)
    told = json.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])
    assert told["subject_ref"] == REFS[sent]
    assert told["has_access"] is True


def test_pages_forms_and_their_cookies(shop: ProxiedShop, proxy: Proxy) -> None:
    with proxy.client("127.0.0.41") as client:
        page = client.get("/sign-in")
        assert page.status_code == 200
        answer = sign_in(client, PASSWORD)
        assert answer.status_code == 303, answer.text
        assert not answer.headers["Location"].startswith("http:")
        cookies = answer.headers.get_list("Set-Cookie")
        assert any(each.startswith("__Host-licenzy=") for each in cookies)
        assert all("; Secure" in each and "; HttpOnly" in each for each in cookies)
        home = client.get("/", follow_redirects=True)
        assert home.status_code == 200
        assert "Our project" in home.text
    assert shop.audited("sign_in.succeeded")[0].ip == "127.0.0.41"


def test_headers_and_caching_are_left_as_they_are(shop: ProxiedShop, proxy: Proxy) -> None:
    wanted = dict(security_headers(https=True))
    with proxy.client() as client:
        for path in ("/sign-in", "/docs", "/v1/openapi.json", "/nowhere"):
            for _ in range(2):
                answer = client.get(path)
                assert {name: answer.headers.get(name) for name in wanted} == wanted, path
                assert "Age" not in answer.headers
                assert "Content-Encoding" not in answer.headers
        first = client.get("/sign-in")
        assert first.headers["Cache-Control"] == "no-store"
        static = re.search(r'href="(/static/[^"]+\.css[^"]*)"', first.text)
        assert static
        assert "max-age" in client.get(static[1]).headers["Cache-Control"]
    with proxy.client() as another:
        assert token_of(another.get("/sign-in")) != token_of(first)


def test_who_comes_is_known_and_nobody_chooses_their_address(shop: ProxiedShop, proxy: Proxy) -> None:
    source = {"nginx": "127.0.0.51", "caddy": "127.0.0.52"}[proxy.name]
    spoofed = {
        "X-Forwarded-For": "203.0.113.9, 203.0.113.10",
        "X-Real-IP": "203.0.113.11",
        "Forwarded": "for=203.0.113.12",
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Proto": "http",
    }
    with proxy.client(source) as client:
        assert sign_in(client, "wrong", spoofed).status_code == 422
    assert shop.audited("sign_in.failed")[0].ip == source


def test_limits_on_tries_count_for_the_real_address(shop: ProxiedShop, proxy: Proxy) -> None:
    source = {"nginx": "127.0.0.61", "caddy": "127.0.0.62"}[proxy.name]
    shop.uses_up_its_tries(source)
    with proxy.client(source) as client, proxy.client("127.0.0.63") as other:
        nobody = f"{new_id('x')}@example.com"
        assert sign_in(client, "wrong", email=nobody).status_code == 429
        assert sign_in(client, "wrong", {"X-Forwarded-For": "203.0.113.9"}, email=nobody).status_code == 429
        assert sign_in(other, "wrong", {"X-Forwarded-For": source}, email=nobody).status_code == 422


def test_other_hosts_get_no_answer_of_ours(proxy: Proxy) -> None:
    with proxy.client() as client:
        answer = client.get("/sign-in", headers={"Host": "evil.example.com"})
    assert "Sign in" not in answer.text


def test_plain_http_is_not_answered(proxy: Proxy) -> None:
    with closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=5)) as connection:
        connection.sendall(f"GET /sign-in HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        assert b" 400 " in connection.recv(4096).split(b"\r\n")[0]


class HalfSent:
    """A request that has begun and does not go on."""

    def __init__(self, proxy: Proxy, source: str) -> None:
        context = ssl.create_default_context(cafile=str(proxy.certificate))
        plain = socket.create_connection(("127.0.0.1", proxy.port), 10, source_address=(source, 0))
        self.connection = context.wrap_socket(plain, server_hostname=HOST)
        self.connection.sendall(
            f"POST /v1/access/check HTTP/1.1\r\nHost: {HOST}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode()
        )

    def close(self) -> None:
        self.connection.close()


def test_connections_of_one_address_are_limited_by_nginx(
    shop: ProxiedShop, proxies: dict[str, Proxy]
) -> None:
    proxy = proxies["nginx"]
    with ExitStack() as open_ones, proxy.client("127.0.0.71") as same, proxy.client("127.0.0.72") as other:
        for _ in range(64):
            open_ones.enter_context(closing(HalfSent(proxy, "127.0.0.71")))
        assert shop.check(same).status_code == 429
        assert shop.check(other).status_code == 200, "others are not kept out, nor is Licenzy held up"
        open_ones.close()
    with proxy.client("127.0.0.71") as same:
        wait_until(lambda: shop.check(same).status_code == 200, seconds=10, what="it is let in again")


def test_requests_of_one_address_are_limited_by_nginx_where_wanted(
    shop: ProxiedShop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    line = "limit_req zone=licenzy_requests burst=200 nodelay;"
    folder = tmp_path_factory.mktemp("requests")
    told: set[int] = set()
    until = time.monotonic() + 30

    def ask(client: httpx.Client) -> None:
        while 429 not in told and time.monotonic() < until:
            told.add(client.get("/healthz").status_code)

    with nginx(shop.port, folder, also={f"# {line}": line}) as proxy, ExitStack() as clients:
        some = [clients.enter_context(proxy.client("127.0.0.81")) for _ in range(8)]
        with ThreadPoolExecutor(len(some)) as at_once:
            list(at_once.map(ask, some))
        assert told == {200, 429}
        with proxy.client("127.0.0.82") as other:
            assert other.get("/healthz").status_code == 200


def test_own_backends_may_have_more_connections(
    shop: ProxiedShop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("own")
    with (
        nginx(shop.port, folder, also={"# 10.0.0.0/8  1;": "127.0.0.91  1;"}) as proxy,
        ExitStack() as open_ones,
        proxy.client("127.0.0.91") as own,
    ):
        for _ in range(70):
            open_ones.enter_context(closing(HalfSent(proxy, "127.0.0.91")))
        assert shop.check(own).status_code == 200
