"""A merchant: a project, its account at the sandbox, and the account's clock.

Licenzy is called by its API, Stripe by the official library and the hosted page. All expected values are
written by hand in the stories; nothing here computes one.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx
import stripe

from tests.archetypes.customers import Customer
from tests.archetypes.instants import calendar_from_today

Json = dict[str, Any]
DELIVERY_SECONDS = 60.0
POLL_SECONDS = 0.02

stripe.enable_telemetry = False


class Merchant:
    """A project of one installation, and the merchant's account at the sandbox."""

    def __init__(
        self, *, url: str, api_key: str, sandbox_url: str, sandbox_key: str, apply: Callable[[str], None]
    ) -> None:
        self.url, self.api_key = url, api_key
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=30, trust_env=False
        )
        self.stripe = stripe.StripeClient(sandbox_key, base_addresses={"api": sandbox_url}).v1
        self.calendar = calendar_from_today()
        self._apply = apply
        self._clock_id = self.stripe.test_helpers.test_clocks.list().data[0].id
        self._lookup_keys: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def apply(self, content: str) -> None:
        """Make the catalog as the configuration file says."""
        self._apply(content)
        for product in tomllib.loads(content)["product"]:
            for price in product.get("price", []):
                self._lookup_keys[product["code"], price.get("label", "default")] = price["lookup_key"]

    def at(self, instant: str) -> None:
        """Let the account's time pass until the instant, with everything that falls due."""
        self.stripe.test_helpers.test_clocks.advance(
            self._clock_id, {"frozen_time": self.calendar.seconds(instant)}
        )
        self.delivered()

    def a_moment_later(self) -> None:
        """Let two seconds pass: Stripe dates events in whole seconds, so which of two changes in the same
        second is the later one cannot be known from them."""
        clock = self.stripe.test_helpers.test_clocks.retrieve(self._clock_id)
        self.stripe.test_helpers.test_clocks.advance(self._clock_id, {"frozen_time": clock.frozen_time + 2})

    def let_pass(self, seconds: int) -> None:
        """Let the account's time pass, with everything that falls due."""
        clock = self.stripe.test_helpers.test_clocks.retrieve(self._clock_id)
        self.stripe.test_helpers.test_clocks.advance(
            self._clock_id, {"frozen_time": clock.frozen_time + seconds}
        )
        self.delivered()

    def pay(self, checkout: Json) -> None:
        """A customer completes the hosted page; Stripe's events have arrived."""
        self.a_moment_later()
        paid = httpx.post(checkout["checkout_url"], data={"action": "pay"}, timeout=30, trust_env=False)
        assert paid.status_code == 303, paid.text
        self.delivered()

    def delivered(self) -> None:
        """Wait until Licenzy has answered every event of the account."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        while self.stripe.events.list({"delivery_success": False, "limit": 1}).data:
            assert time.monotonic() < deadline, "an event was not delivered"
            time.sleep(POLL_SECONDS)

    def price(self, product_code: str, label: str = "default") -> str:
        """The Stripe ID of the price that now has the lookup key of the file."""
        key = self._lookup_keys[product_code, label]
        (found,) = self.stripe.prices.list({"lookup_keys": [key]}).data
        return found.id

    def prices_of(self, product_code: str) -> set[str]:
        """The Stripe IDs of all prices that the product is sold at."""
        labels = [label for code, label in self._lookup_keys if code == product_code]
        return {self.price(product_code, label) for label in labels}

    def customer(self, subject_ref: str) -> Customer:
        return Customer(self, subject_ref)

    def call(self, method: str, path: str, body: Json | None = None, *, status: int, key: str = "") -> Json:
        """The answer of Licenzy's API, which must have this status."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.http.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, f"{method} {path} {body}: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found
