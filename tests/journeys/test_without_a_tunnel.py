"""From a pasted key to a check that says yes on a machine that Stripe cannot reach: no webhook anywhere."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from licenzy.settings import load_settings
from tests.support.cast import PASSWORD
from tests.support.installation import STOP_SECONDS, Served
from tests.support.portal_person import PortalPerson
from tests.support.ports import free_port_pair

pytestmark = pytest.mark.slow

SUBJECT = "user_123"


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[Served]:
    """`licenzy serve` with two web processes, which takes its own sandbox for Stripe."""
    port = free_port_pair()
    running = Served(
        tmp_path,
        LICENZY_PORT=str(port),
        LICENZY_DATABASE_URL=database_url,
        LICENZY_STRIPE_API_BASE=f"http://127.0.0.1:{port + 1}",
    )
    try:
        running.wait_until_ready()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(STOP_SECONDS + 5)


@pytest.fixture
def merchant(served: Served) -> Iterator[Merchant]:
    with PortalPerson(f"http://127.0.0.1:{served.port}") as person:
        yield Merchant(served, person)


class Merchant:
    """Somebody who has a Stripe account, a browser without JavaScript, and a backend."""

    def __init__(self, served: Served, person: PortalPerson) -> None:
        self.settings = load_settings(served.environ)
        self.url = f"http://127.0.0.1:{served.port}"
        self.at_stripe = f"http://127.0.0.1:{served.port + 1}"
        self.token = self.settings.derived_secret("sandbox control")
        opened = self._control("POST", "", {"name": "A shop of its own"})
        self.account, self.stripe_key = str(opened["account"]), str(opened["secret_key"])
        self.person = person
        self.person.open(f"/claim/{self.settings.derived_secret('claim')}")
        self.person.submit(
            str(self.person.page.url).rsplit("/", 1)[-1],
            name="Ada",
            email="ada@example.com",
            password=PASSWORD,
        )
        self.person.open("/projects/new")
        self.person.submit("/projects/new", name="A shop")
        found = re.search(r"/projects/(prj_\w+)/test/", str(self.person.page.url))
        assert found
        self.project_id = found.group(1)

    def step(self, name: str, mode: str = "test") -> str:
        return self.person.open(f"/projects/{self.project_id}/{mode}/setup/{name}")

    def paste(self, key: str) -> None:
        self.step("connect")
        self.person.submit("/connection/key", stripe_key=key)

    def price(self) -> str:
        with httpx.Client(
            base_url=f"{self.at_stripe}/v1", auth=(self.stripe_key, ""), trust_env=False
        ) as client:
            product = client.post("/products", data={"name": "Pro"}).raise_for_status().json()
            body = {
                "product": product["id"],
                "currency": "usd",
                "unit_amount": "1200",
                "recurring[interval]": "month",
            }
            return str(client.post("/prices", data=body).raise_for_status().json()["id"])

    def endpoints(self) -> list[Any]:
        found = httpx.get(f"{self.at_stripe}/v1/webhook_endpoints", auth=(self.stripe_key, ""), timeout=20)
        listed: list[Any] = found.raise_for_status().json()["data"]
        return listed

    def restricted_key(self, *permissions: str) -> str:
        made = self._control("POST", f"/{self.account}/restricted_keys", {"permissions": list(permissions)})
        return str(made["restricted_key"])

    def sells(self) -> str:
        """Map a product and make an API key, which it gives."""
        price_id = self.price()
        self.step("products")
        self.person.submit(
            "/products/new", price_id=price_id, kind="subscription", product_code="PRO_MONTHLY"
        )
        self.step("api-key")
        self.person.submit("/api-keys", name="backend")
        shown = re.search(r"lz_test_[0-9A-Za-z]{49}", self.person.page.text)
        assert shown, self.person.said()
        return shown.group(0)

    def call(self, key: str, path: str, body: dict[str, str], **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {key}", **headers}
        return httpx.post(f"{self.url}{path}", json=body, headers=sent, timeout=20)

    def buys(self, key: str, subject: str = SUBJECT) -> str:
        """Pay on the hosted page; gives the attempt's id."""
        body = {"subject_ref": subject, "product_code": "PRO_MONTHLY"}
        opened = self.call(key, "/v1/checkout/session", body, **{"Idempotency-Key": f"order-{subject}"})
        assert opened.status_code == 201, opened.text
        paid = httpx.post(opened.json()["checkout_url"], data={"action": "pay"}, timeout=20)
        assert paid.status_code in {200, 302, 303}, paid.text
        return str(opened.json()["attempt_id"])

    def waits_for_access(self, key: str, subject: str = SUBJECT, *, seconds: float = 10) -> None:
        ends_at = time.monotonic() + seconds
        while not self.call(key, "/v1/access/check", {"subject_ref": subject}).json()["allowed"]:
            assert time.monotonic() < ends_at, f"no access {seconds:g} s after paying"
            time.sleep(0.1)

    def waits_for(self, words: str, step: str, *, seconds: float = 20) -> str:
        ends_at = time.monotonic() + seconds
        while words not in (page := self.step(step)):
            assert time.monotonic() < ends_at, self.person.said()
            time.sleep(0.3)
        return page

    def _control(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        address = f"{self.at_stripe}/_sandbox/accounts{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, address, json=body, headers=headers, timeout=20)
        told: dict[str, Any] = answer.raise_for_status().json()
        return told


def test_a_pasted_key_and_a_product_are_all_it_takes(merchant: Merchant) -> None:
    merchant.paste(merchant.stripe_key)
    page = merchant.waits_for("Fetched, not delivered", "webhook")
    assert "Events are fetched from Stripe every few seconds on this machine" in page
    assert "stripe listen" in page
    key = merchant.sells()
    attempt_id = merchant.buys(key)
    merchant.waits_for_access(key)
    assert merchant.endpoints() == []

    timeline = merchant.person.open(
        f"/projects/{merchant.project_id}/test/setup/purchase?attempt={attempt_id}"
    )
    assert "It works from end to end" in timeline
    assert "Read from Stripe" in timeline
    assert "Signature verified" not in timeline

    going_live = merchant.step("go-live", mode="live")
    signed = re.search(r'data-item="live_webhook".*?</li>', going_live, re.DOTALL)
    assert signed
    assert "Live mode needs a signed event" in signed.group(0)
    assert "is-done" not in signed.group(0)[:60]


def test_a_worker_that_is_killed_loses_nothing(served: Served, merchant: Merchant) -> None:
    merchant.paste(merchant.stripe_key)
    key = merchant.sells()
    killed = 0
    for number in range(4):
        merchant.buys(key, f"user_{number}")
        for pid in worker_processes(served):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    assert killed
    for number in range(4):
        # A poll that was cut off keeps its lease for forty seconds.
        merchant.waits_for_access(key, f"user_{number}", seconds=90)


def test_a_key_that_may_not_read_events_is_named_with_its_fix(served: Served, merchant: Merchant) -> None:
    merchant.paste(
        merchant.restricted_key(
            "rak_checkout_session_write",
            "rak_checkout_session_read",
            "rak_plan_read",
            "rak_product_read",
            "rak_accounts_kyc_basic_read",
        )
    )
    page = merchant.waits_for("Events could not be fetched", "webhook")
    assert "rak_event_read" in page
    assert "Stripe events not fetched" in page
    assert "Next try at" in page
    told = served.licenzy("doctor", "--json").stdout
    assert "events_not_fetched" in told
    merchant.paste(merchant.stripe_key)
    merchant.waits_for("Fetched, not delivered", "webhook")
    assert "events_not_fetched" not in served.licenzy("doctor", "--json").stdout


def worker_processes(served: Served) -> list[int]:
    """The processes of `licenzy worker`."""
    found = []
    for pid in served.children():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"worker" in command:
            found.append(pid)
    return found
