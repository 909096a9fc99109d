"""A shop on the Stripe sandbox: connected, with priced products and an API key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import stripe
from flask.testing import FlaskClient

from licenzy.catalog.models import Kind, Product
from licenzy.connections.models import Connection, Provider
from licenzy.runtime import Runtime
from tests.conftest import Sandbox
from tests.support.cast import Cast, make_connection, make_key, make_product


@dataclass
class Shop:
    """What a merchant's backend has at hand, and Stripe's own view of the account."""

    client: FlaskClient
    runtime: Runtime
    sandbox: Sandbox
    account: str
    stripe: stripe.StripeClient
    connection: Connection
    project_id: str
    token: str

    def checkout(self, key: str | None = "k1", headers: dict[str, str] | None = None, **body: Any) -> Any:
        sent = {"subject_ref": "user_123", "product_code": "PRO_MONTHLY", **body}
        idempotency = {"Idempotency-Key": key} if key is not None else {}
        return self.client.post(
            "/v1/checkout/session",
            json={name: value for name, value in sent.items() if value is not None},
            headers={"Authorization": f"Bearer {self.token}", **idempotency, **(headers or {})},
        )

    def misbehave(self, **faults: Any) -> None:
        self._control("POST", "misbehaviour", faults)

    def behave(self) -> None:
        self._control("DELETE", "misbehaviour", None)

    def sessions(self) -> list[Any]:
        return self.stripe.v1.checkout.sessions.list({"limit": 100}).data

    def _control(self, method: str, what: str, body: dict[str, Any] | None) -> None:
        answer = httpx.request(
            method,
            f"{self.sandbox.url}/_sandbox/accounts/{self.account}/{what}",
            json=body,
            headers={"Authorization": f"Bearer {self.sandbox.control_token}"},
        )
        assert answer.status_code < 300, answer.text


@pytest.fixture
def sell(shop: Shop) -> Callable[..., Product]:
    """Map a product to a price that exists at the sandbox."""

    def map_product(code: str, kind: Kind, **columns: Any) -> Product:
        recurring: dict[str, Any] = {"recurring": {"interval": "month"}} if kind is Kind.SUBSCRIPTION else {}
        price = shop.stripe.v1.prices.create(
            {"unit_amount": 1200, "currency": "usd", "product_data": {"name": code.title()}, **recurring}
        )
        with shop.runtime.database.write() as db:
            return make_product(
                db,
                project_id=shop.project_id,
                product_code=code,
                kind=kind,
                **{"stripe_price_id": price.id, **columns},
            )

    return map_product


@pytest.fixture
def shop(client: FlaskClient, runtime: Runtime, cast: Cast, sandbox: Sandbox) -> Shop:
    account = httpx.post(
        f"{sandbox.url}/_sandbox/accounts",
        json={"name": "The tests' shop"},
        headers={"Authorization": f"Bearer {sandbox.control_token}"},
    ).json()
    with runtime.database.write() as db:
        connection = make_connection(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            provider=Provider.SANDBOX,
            stripe_key=account["secret_key"],
        )
        token = make_key(db, project_id=cast.project_id)[1]
    at_stripe = stripe.StripeClient(account["secret_key"], base_addresses={"api": sandbox.url})
    return Shop(client, runtime, sandbox, account["account"], at_stripe, connection, cast.project_id, token)
