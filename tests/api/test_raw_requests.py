"""What the real server makes of requests that no client library would send."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import pytest

from licenzy.catalog.models import Kind
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.support.cast import WEBHOOK_SECRET, make_cast, make_connection, make_key, make_subject
from tests.support.purchases import make_entitlement, signed
from tests.support.web_processes import serving

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


@dataclass(frozen=True)
class Web:
    """A running `licenzy web`."""

    port: int
    token: str
    connection_id: str

    def send(self, line: str, *headers: str, body: bytes = b"") -> tuple[int, dict[str, object]]:
        """Status and body of what a request of exactly these lines is answered with."""
        head = [line, f"Host: 127.0.0.1:{self.port}", f"Content-Length: {len(body)}", "Connection: close"]
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall("\r\n".join([*head, *headers, "", ""]).encode("latin-1") + body)
            heard = b""
            while more := connection.recv(65_536):
                heard += more
        start, _, answer = heard.partition(b"\r\n\r\n")
        return int(start.split(b" ")[1]), orjson.loads(answer)

    def consume(self, *keys: str) -> tuple[int, dict[str, object]]:
        """Consume a unit, with these lines of Idempotency-Key."""
        return self.send(
            "POST /v1/usage/consume HTTP/1.1",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            *keys,
            body=b'{"subject_ref": "user_123", "units": 1}',
        )


@pytest.fixture
def web(settings: Settings, runtime: Runtime) -> Iterator[Web]:
    token, connection_id = _make_customer(runtime)
    with serving(settings, LICENZY_WORKERS="1"):
        yield Web(settings.port, token, connection_id)


def _make_customer(runtime: Runtime) -> tuple[str, str]:
    with runtime.database.write() as db:
        project_id = make_cast(db).project_id
        subject = make_subject(db, project_id=project_id)
        make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, ends_at=None, granted_units=100)
        connection = make_connection(db, project_id=project_id, secret_box=runtime.secret_box)
        return make_key(db, project_id=project_id)[1], connection.id


def test_repeated_headers_and_addresses_in_another_case(web: Web) -> None:
    once = web.consume("Idempotency-Key: k1")
    assert once == (200, {"ok": True, "consumed": 1, "usage_remaining": 99})
    for twice in (
        ("Idempotency-Key: k1", "Idempotency-Key: k1"),
        ("Idempotency-Key: k1", "idempotency-key:k1"),
        ("Idempotency-Key: k1, k1",),
        ("Idempotency-Key: a", "Idempotency-Key: b"),
        ("Idempotency-Key: a,b",),
        ("Idempotency-Key:", "Idempotency-Key:"),
    ):
        status, told = web.consume(*twice)
        assert (status, told["error"]) == (400, "idempotency_key_invalid"), twice

    body, headers = signed({"no": "event"}, WEBHOOK_SECRET)
    hook = f"POST /v1/webhooks/stripe/{web.connection_id} HTTP/1.1"
    signature = f"Stripe-Signature: {headers['Stripe-Signature']}"
    status, told = web.send(hook, signature, signature, body=body)
    assert (status, told["error"]) == (400, "signature_invalid")

    for line in ("GET /V1/customer/access/u", "POST /V1/access/check", "GET /V1", "DELETE /V1/nothing"):
        status, told = web.send(f"{line} HTTP/1.1", f"Authorization: Bearer {web.token}")
        assert (status, told["error"]) == (404, "not_found"), line
