"""What must never happen: access without a signed event, twice from one event, or across modes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import stripe

from licenzy.alignment.modes import Mode
from licenzy.cli.seeding import Seeded, seed
from tests.conftest import LiveServer
from tests.support.cast import make_key
from tests.support.ports import wait_until

pytestmark = pytest.mark.slow

SUBJECT = "user_123"
LOSE_WEBHOOKS = {"webhooks": {"lose": 1000}}


@dataclass(frozen=True, slots=True)
class Shop:
    """The demo project on a live server, as a merchant's backend and Stripe see it."""

    server: LiveServer
    seeded: Seeded
    http: httpx.Client

    def call(
        self, path: str, body: dict[str, Any], *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        headers["Authorization"] = f"Bearer {key or self.seeded.api_key}"
        return self.http.post(f"{self.seeded.base_url}{path}", json=body, headers=headers)

    def allowed(self, *, key: str | None = None) -> bool:
        answer = self.call("/v1/access/check", {"subject_ref": SUBJECT}, key=key)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["allowed"])

    def checkout(self, product_code: str) -> dict[str, Any]:
        body = {"subject_ref": SUBJECT, "product_code": product_code}
        answer = self.call(
            "/v1/checkout/session", body, **{"Idempotency-Key": f"order-{time.monotonic_ns()}"}
        )
        assert answer.status_code == 201, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def pay(self, session: dict[str, Any]) -> httpx.Response:
        return self.http.post(session["checkout_url"], data={"action": "pay"})

    def stripe(self, path: str) -> dict[str, Any]:
        """Read at the sandbox with the connection's own key."""
        from licenzy.connections.actions import stripe_key
        from licenzy.connections.queries import connection_by_id

        runtime = self.server.runtime
        with runtime.database.read() as db:
            connection = connection_by_id(db, connection_id=self.seeded.connection_id)
        assert connection is not None
        told: dict[str, Any] = self.http.get(
            f"{self.seeded.sandbox_url}{path}", auth=(stripe_key(runtime.secret_box, connection), "")
        ).json()
        return told

    def inject_faults(self, **faults: Any) -> None:
        account = self.stripe("/v1/account")["id"]
        answer = self.http.post(
            f"{self.seeded.sandbox_url}/_sandbox/accounts/{account}/misbehaviour",
            headers={"Authorization": f"Bearer {self.server.sandbox.control_token}"},
            json=faults,
        )
        assert answer.status_code == 200, answer.text

    def deliver(self, event: dict[str, Any], *, secret: str, at: int | None = None) -> httpx.Response:
        """Post an event as Stripe would, signed with `secret`."""
        payload = json.dumps(event)
        moment = int(time.time()) if at is None else at
        signature = stripe.WebhookSignature._compute_signature(f"{moment}.{payload}", secret)
        return self.http.post(
            self.seeded.webhook_url,
            content=payload,
            headers={"Stripe-Signature": f"t={moment},v1={signature}", "Content-Type": "application/json"},
        )

    def completed_event(self, session: dict[str, Any]) -> dict[str, Any]:
        session_id = session["stripe_checkout_session_id"]
        for event in self.stripe("/v1/events?type=checkout.session.completed")["data"]:
            if event["data"]["object"]["id"] == session_id:
                found: dict[str, Any] = event
                return found
        raise AssertionError("the sandbox has no event of this session")

    def entitlements(self) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.seeded.api_key}"}
        told = self.http.get(f"{self.seeded.base_url}/v1/entitlements/{SUBJECT}", headers=headers).json()
        return list(told["entitlements"])


@pytest.fixture
def shop(live_server: LiveServer) -> Iterator[Shop]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield Shop(live_server, seed(live_server.runtime), http)


def test_a_paid_redirect_without_its_webhook_grants_nothing(shop: Shop) -> None:
    shop.inject_faults(**LOSE_WEBHOOKS)
    session = shop.checkout("DAY_PASS")
    paid = shop.pay(session)
    assert paid.status_code in {302, 303}
    shop.http.get(paid.headers["location"])
    time.sleep(1)
    assert not shop.allowed()
    assert shop.entitlements() == []
    delivered = shop.deliver(shop.completed_event(session), secret=shop.seeded.webhook_secret)
    assert delivered.status_code == 200
    wait_until(shop.allowed, seconds=5, what="the late webhook grants access")


def test_unsigned_and_badly_signed_events_change_nothing(shop: Shop) -> None:
    shop.inject_faults(**LOSE_WEBHOOKS)
    session = shop.checkout("DAY_PASS")
    shop.pay(session)
    event = shop.completed_event(session)
    unsigned = shop.http.post(shop.seeded.webhook_url, json=event)
    foreign = shop.deliver(event, secret="whsec_of_somebody_else_0123456789")
    stale = shop.deliver(event, secret=shop.seeded.webhook_secret, at=int(time.time()) - 3600)
    assert [unsigned.status_code, foreign.status_code, stale.status_code] == [400, 400, 400]
    assert unsigned.json()["error"] == foreign.json()["error"] == "signature_invalid"
    assert stale.json()["error"] == "timestamp_out_of_tolerance"
    assert not shop.allowed()
    assert shop.entitlements() == []


def test_an_event_delivered_again_changes_nothing(shop: Shop) -> None:
    session = shop.checkout("CREDITS_1000")
    shop.pay(session)
    wait_until(shop.allowed, seconds=10, what="the webhook grants access")
    event = shop.completed_event(session)
    before = shop.entitlements()
    for _ in range(5):
        assert shop.deliver(event, secret=shop.seeded.webhook_secret).status_code == 200
    after = shop.entitlements()
    assert [entitlement["granted_units"] for entitlement in after] == [1000]
    assert after == before


def test_a_key_of_the_other_mode_sees_nothing(shop: Shop) -> None:
    shop.pay(shop.checkout("PRO_MONTHLY"))
    wait_until(shop.allowed, seconds=10, what="the webhook grants access")
    runtime = shop.server.runtime
    with runtime.database.write() as db:
        project_id = shop.seeded.project_id
        _row, live_key = make_key(db, project_id=project_id, mode=Mode.LIVE, now=runtime.clock())
    assert not shop.allowed(key=live_key)
    headers = {"Authorization": f"Bearer {live_key}"}
    base = shop.seeded.base_url
    access = shop.http.get(f"{base}/v1/customer/access/{SUBJECT}", headers=headers)
    assert access.headers["Licenzy-Mode"] == "live"
    assert access.json() == {
        "subject_ref": SUBJECT,
        "has_access": False,
        "status": "none",
        "entitlements": [],
        "features": [],
        "limits": {},
        "default_product": None,
        "balances": {},
    }
    assert shop.http.get(f"{base}/v1/entitlements/{SUBJECT}", headers=headers).json()["entitlements"] == []
