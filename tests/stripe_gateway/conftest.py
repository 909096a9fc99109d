"""A gateway to the sandbox over HTTP, on SQLite alone: nothing here depends on the product's database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from licenzy.stripe_gateway import transport
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from tests.conftest import Sandbox
from tests.support.servers import served


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'unused.sqlite3'}"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.02)


@pytest.fixture
def gateway() -> StripeGateway:
    return StripeGateway(stripe_base=None, sandbox_base=None, concurrent_calls=2)


@dataclass
class Account:
    """An account of the sandbox, and Stripe's own library to prepare it with."""

    sandbox: Sandbox
    id: str
    key: str
    stripe: stripe.StripeClient

    @property
    def access(self) -> StripeAccess:
        return StripeAccess(self.key, self.sandbox.url)

    def restricted(self, *permissions: str) -> StripeAccess:
        made = self._control("restricted_keys", {"permissions": list(permissions)})
        return StripeAccess(made["restricted_key"], self.sandbox.url)

    def inject_faults(self, **faults: Any) -> None:
        self._control("misbehaviour", faults)

    def make_subscriptions(self, **order: Any) -> None:
        self._control("subscriptions", order)

    def price(self, name: str = "Pro", **params: Any) -> str:
        made = {"unit_amount": 1200, "currency": "usd", "product_data": {"name": name}, **params}
        return str(self.stripe.v1.prices.create(made).id)  # type: ignore[arg-type]

    def _control(self, what: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(
            f"{self.sandbox.url}/_sandbox/accounts/{self.id}/{what}",
            json=body,
            headers={"Authorization": f"Bearer {self.sandbox.control_token}"},
        )
        return answer.raise_for_status().json()


@pytest.fixture
def account(sandbox: Sandbox) -> Account:
    made = httpx.post(
        f"{sandbox.url}/_sandbox/accounts",
        json={"name": "The tests' shop"},
        headers={"Authorization": f"Bearer {sandbox.control_token}"},
    ).json()
    at_stripe = stripe.StripeClient(made["secret_key"], base_addresses={"api": sandbox.url})
    return Account(sandbox, made["account"], made["secret_key"], at_stripe)


class Scripted:
    """Something at Stripe's address that gives prepared answers in turn, the last one for ever."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.calls: list[dict[str, Any]] = []
        self.headers: list[tuple[str, str]] = []
        self.hangs = 0
        """How many calls are kept waiting until the test is over."""
        self.over = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.calls.append(environ)
        if len(self.calls) <= self.hangs:
            self.over.wait(10)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        start_response(f"{status} X", [("Content-Type", "application/json"), *self.headers])
        return [body.encode()]


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[Scripted, StripeAccess]]]:
    """Serve a `Scripted`; gives it and the access to it."""
    with ExitStack() as stack:

        def serve(*answers: tuple[int, str]) -> tuple[Scripted, StripeAccess]:
            app = Scripted(*answers)
            address = stack.enter_context(served(app))
            stack.callback(app.over.set)
            return app, StripeAccess("sk_test_51secretsecretsecret", address)

        yield serve
    transport.client_of.cache_clear()
