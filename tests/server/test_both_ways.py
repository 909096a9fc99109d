"""A plain WSGI server gives the answers that the front gives."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.server.conftest import Shop
from tests.server.raw import RawAnswer, ask, request
from tests.support.databases import SqliteFiles
from tests.support.installation import ROOT
from tests.support.ports import answers, free_port_pair, wait_until

pytestmark = pytest.mark.slow

JSON = "Content-Type: application/json"
CHECK = "POST /v1/access/check"
CONSUME = "POST /v1/usage/consume"
HOOK = "POST /v1/webhooks/stripe/tenant"
BODY = b'{"subject_ref": "user_1"}'
UNITS = b'{"subject_ref": "user_1", "units": 1}'
KEY = "Authorization: Bearer {token}"
READ_KEY = "Authorization: Bearer {read}"
AUDIT_KEY = "Authorization: Bearer {audit}"
HARDENED = (
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "permissions-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
)
ALIKE = (
    *HARDENED,
    "content-type",
    "cache-control",
    "allow",
    "www-authenticate",
    "licenzy-mode",
    "location",
    "vary",
)


@dataclass(frozen=True)
class Row:
    """A request; `{token}` in its headers is the key's."""

    line: str
    headers: tuple[str, ...] = ()
    body: bytes = b""
    status: int | None = None
    code: str = ""


ROWS = [
    Row("GET /healthz", status=200),
    Row("HEAD /healthz", status=200),
    Row("POST /healthz", status=405),
    Row("GET /readyz", status=200),
    Row("GET /", status=303),
    Row("GET /sign-in", status=200),
    Row("HEAD /sign-in", status=200),
    Row("DELETE /sign-in", status=405),
    Row("GET /nothing", status=404),
    Row("GET /static/css/elements.css"),
    Row("HEAD /static/css/elements.css"),
    Row("GET /static/nothing.css", status=404),
    Row("GET /static/../licenzy/settings.py", status=404),
    Row("GET /v1/openapi.json", status=200),
    Row("GET /v1/nothing", status=404, code="not_found"),
    Row("GET /V1/nothing", status=404, code="not_found"),
    Row("OPTIONS /v1/access/check", status=405, code="method_not_allowed"),
    Row("GET //v1/access/check", status=404),
    Row("GET /v1/access/check", status=405, code="method_not_allowed"),
    Row("GET http://evil.example/sign-in"),
    Row("OPTIONS *"),
    # Bodies
    Row(CHECK, (KEY, JSON), BODY, 200),
    Row(CHECK, (KEY, JSON), b"", 400, "invalid_json"),
    Row(CHECK, (KEY, JSON), b"[1]", 400, "invalid_json"),
    Row(CHECK, (KEY, JSON), b'{"subject_ref": "a", "subject_ref": "b"}', 400, "invalid_json"),
    Row(CHECK, (KEY, JSON), b'{"subject_ref": NaN}', 400, "invalid_json"),
    Row(CHECK, (KEY, JSON), b"\xff\xfe", 400, "invalid_json"),
    Row(CHECK, (KEY, JSON), b'{"a": ' * 40, 400, "invalid_json"),
    Row(CHECK, (KEY, JSON), b'{"subject_ref": "\\ud800"}', 400, "invalid_request"),
    Row(CHECK, (KEY, JSON), b'{"subject_ref": "\\u0000"}', 400, "invalid_request"),
    Row(CHECK, (KEY, JSON), '{"subject_ref": "\ufffd"}'.encode(), 200),
    Row(CHECK, (KEY, JSON), b'{"subject_ref": 1}', 400, "invalid_request"),
    Row(CHECK, (KEY, JSON), b'{"subject_ref": "u", "mode": "live"}', 400, "mode_not_allowed"),
    Row(CHECK, (KEY, JSON), b'{"subject_ref": "u", "more": 1}', 400, "unknown_field"),
    Row(CHECK, (KEY, JSON), b"{" + b" " * 65_536, 413, "payload_too_large"),
    Row(HOOK, (), b"{" + b" " * (1024 * 1024), 413, "payload_too_large"),
    Row("POST /sign-in", (), b"x" * 65_537, 413),
    Row(CHECK, (KEY,), BODY, 415, "unsupported_media_type"),
    Row(CHECK, (KEY, "Content-Type: text/plain"), BODY, 415, "unsupported_media_type"),
    Row(CHECK, (KEY, 'Content-Type: application/json; charset="utf-8"'), BODY, 200),
    Row(CHECK, (KEY, "Content-Type: application/json; charset=latin1"), BODY, 415, "unsupported_media_type"),
    Row(CHECK, (KEY, "Content-Type: application/\xe9"), BODY, 415, "unsupported_media_type"),
    # Who asks
    Row(CHECK, (JSON,), BODY, 401, "api_key_missing"),
    Row(CHECK, ("Authorization:", JSON), BODY, 401, "api_key_invalid"),
    Row(CHECK, ("Authorization: Bearer", JSON), BODY, 401, "api_key_invalid"),
    Row(CHECK, ("Authorization: Bearer \xe9", JSON), BODY, 401, "api_key_invalid"),
    Row(CHECK, ("Authorization: Basic x", JSON), BODY, 401, "api_key_invalid"),
    Row(CHECK, ("Authorization: Bearer sk_test_" + "a" * 24, JSON), BODY, 401, "stripe_key_sent"),
    Row(CHECK, (KEY, KEY, JSON), BODY, 401, "api_key_invalid"),
    Row(CHECK, ("X_Authorization: Bearer x", "Authorization_: x", JSON), BODY, 401, "api_key_missing"),
    # What the key may call
    Row(CHECK, (READ_KEY, JSON), BODY, 200),
    Row(CHECK, (AUDIT_KEY, JSON), BODY, 403, "insufficient_scope"),
    Row(CHECK, (AUDIT_KEY, JSON), b"[1]", 403, "insufficient_scope"),
    Row(CONSUME, (READ_KEY, JSON, "Idempotency-Key: r"), UNITS, 403, "insufficient_scope"),
    Row(CONSUME, (AUDIT_KEY, JSON), b"[1]", 403, "insufficient_scope"),
    Row("GET /v1/entitlements/u", (READ_KEY,), status=200),
    Row("GET /v1/entitlements/u", (AUDIT_KEY,), status=403, code="insufficient_scope"),
    # The Idempotency-Key
    Row(CONSUME, (KEY, JSON), UNITS, 400, "idempotency_key_missing"),
    Row(CONSUME, (KEY, JSON, "Idempotency_Key: k"), UNITS, 400, "idempotency_key_missing"),
    Row(CONSUME, (KEY, JSON, "Idempotency-Key:"), UNITS, 400, "idempotency_key_invalid"),
    Row(CONSUME, (KEY, JSON, "Idempotency-Key: \xe9"), UNITS, 400, "idempotency_key_invalid"),
    Row(
        CONSUME,
        (KEY, JSON, "Idempotency-Key: a", "Idempotency-Key: a"),
        UNITS,
        400,
        "idempotency_key_invalid",
    ),
    Row(
        CONSUME,
        (KEY, JSON, "Idempotency-Key: a", "idempotency-key: b"),
        UNITS,
        400,
        "idempotency_key_invalid",
    ),
    Row(CONSUME, (KEY, JSON, "Idempotency-Key: a,b"), UNITS, 400, "idempotency_key_invalid"),
    Row(CONSUME, (KEY, JSON, "Idempotency-Key: " + "k" * 256), UNITS, 400, "idempotency_key_invalid"),
    Row(CONSUME, (KEY, JSON, "Idempotency-Key: k"), UNITS, 409, "insufficient_usage"),
    # Paths
    Row("GET /v1/entitlements/user%2F1%20%C3%A9", (KEY,), status=200),
    Row("GET /v1/entitlements/a//b/", (KEY,), status=200),
    Row("GET /v1/entitlements/a%0Ab", (KEY,)),
    Row("GET /v1/entitlements/a%00b", (KEY,), status=400, code="invalid_request"),
    Row("GET /v1/entitlements/%FF", (KEY,), status=400, code="invalid_request"),
    Row("GET /v1/entitlements/%EF%BF%BD", (KEY,), status=400, code="invalid_request"),
    Row("GET /v1/entitlements/%ED%A0%80", (KEY,), status=400, code="invalid_request"),
    Row("GET /v1/entitlements/%F0%9F%98%80", (KEY,), status=200),
    Row("GET /v1/entitlements/u?limit=0", (KEY,), status=400, code="invalid_request"),
    Row("GET /v1/entitlements/u?limit=1&limit=2", (KEY,), status=400, code="invalid_request"),
    Row("GET /v1/customer/access/u?explain=%FF", (KEY,)),
    Row("GET /v1/customer/access/u??explain", (KEY,)),
    Row("GET /projects/%FF/test", status=400),
    Row("GET /sign-in/%00"),
    Row("POST /v1/webhooks/stripe/%FF", (), b"{}", 400, "invalid_request"),
    # Webhooks
    Row(HOOK, (), b"{}", 400, "signature_invalid"),
    Row(HOOK, ("Stripe-Signature: \xe9",), b"{}", 400, "signature_invalid"),
    Row(HOOK, ("Stripe-Signature: t=1,v1=a", "Stripe-Signature: t=1,v1=a"), b"{}", 400, "signature_invalid"),
    # Hosts, and what no proxy of ours has said
    Row("GET /sign-in", ("X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https"), status=200),
    Row("GET /sign-in", ("Cookie: session=\xe9",), status=200),
    Row("GET /sign-in", ("User-Agent: \xe9",), status=200),
    Row("GET /sign-in?next=%FF%00", status=400),
]
HOSTS = ["evil.example", "", "localhost", "127.0.0.1:1", "[::1]", "127.0.0.1.evil.example", "\xe9"]


@dataclass(frozen=True)
class Ways:
    """The same installation behind the front, and behind a plain WSGI server."""

    shop: Shop
    plain: int

    def ask(self, sent: bytes) -> tuple[RawAnswer, RawAnswer]:
        return ask(self.shop.port, sent), ask(self.plain, sent)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("ways")
    shop = Shop(folder, sqlite_files.fresh(folder))
    plain = free_port_pair()
    running = shop.starts("web")
    with (folder / "plain.log").open("wb") as log:
        gunicorn = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "4"),
                *("--bind", f"127.0.0.1:{plain}", "--log-level", "warning", "licenzy:create_app()"),
            ],
            cwd=ROOT,
            env=shop.environ,
            stdout=log,
            stderr=log,
        )
    try:
        running.wait_until_it_answers(shop.port)
        wait_until(lambda: answers(plain), seconds=30, what="Gunicorn answers")
        yield Ways(shop, plain)
        assert running.said() == ""
        assert "Traceback" not in (folder / "plain.log").read_text()
    finally:
        running.ends()
        gunicorn.send_signal(signal.SIGTERM)
        try:
            gunicorn.wait(15)
        finally:
            gunicorn.kill()
            gunicorn.wait()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.line} {' '.join(row.headers)}"[:80])
def test_the_answers_are_alike(ways: Ways, row: Row) -> None:
    shop = ways.shop
    tokens = {"token": shop.token, "read": shop.read_token, "audit": shop.audit_token}
    headers = [each.format(**tokens) for each in row.headers]
    front, plain = ways.ask(request(row.line, *headers, body=row.body))
    assert_alike(front, plain)
    if row.status is not None:
        assert front.status == row.status, front.body[:300]
        assert front.code == row.code or not row.code


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("line", ["GET /sign-in", "GET /healthz", CHECK])
def test_hosts_are_told_apart_alike(ways: Ways, line: str, host: str) -> None:
    headers = (KEY.format(token=ways.shop.token), JSON)
    sent = request(line, *headers, body=BODY if line == CHECK else b"")
    sent = sent.replace(b"Host: 127.0.0.1\r\n", f"Host: {host}\r\n".encode("latin-1"))
    front, plain = ways.ask(sent)
    assert_alike(front, plain)


def assert_alike(front: RawAnswer, plain: RawAnswer) -> None:
    assert (front.status, front.code) == (plain.status, plain.code), (front.body[:300], plain.body[:300])
    for name in ALIKE:
        assert front.headers.get(name) == plain.headers.get(name), name
    for name in HARDENED:
        assert name in front.headers
    if "json" in front.headers.get("content-type", ""):
        assert front.headers.keys() >= {"licenzy-request-id", "content-length"} or not front.code


def test_gunicorn_serves_a_handful_of_routes(ways: Ways) -> None:
    for row in (
        Row("GET /healthz", status=200),
        Row("GET /readyz", status=200),
        Row("GET /sign-in", status=200),
        Row(CHECK, (KEY, JSON), BODY, 200),
    ):
        headers = [each.format(token=ways.shop.token) for each in row.headers]
        assert ask(ways.plain, request(row.line, *headers, body=row.body)).status == row.status
