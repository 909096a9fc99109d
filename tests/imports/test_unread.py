"""Purchases that cannot be read: each is a row that a person sees, and keeps no other from being imported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from licenzy.catalog.models import Kind, Product
from licenzy.errors import InvalidRequest
from licenzy.imports.actions import choose
from licenzy.imports.read_objects import read_payment
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from tests.imports.account import Account
from tests.stripe_gateway.conftest import Scripted, scripted
from tests.support.clock import StandingClock

Sell = Callable[..., Product]
Serve = Callable[..., tuple[Scripted, StripeAccess]]
__all__ = ["scripted"]
SESSION = {
    "id": "cs_1", "object": "checkout.session", "mode": "payment", "status": "complete",
    "payment_status": "paid", "payment_intent": {"id": "pi_1"}, "customer": "cus_1", "created": 1_700_000_000,
    "metadata": {},
}  # fmt: skip
LINE = {"price": {"id": "price_1"}, "quantity": 1}
REFUND = {
    "id": "re_1",
    "payment_intent": "pi_1",
    "amount": 5,
    "status": "succeeded",
    "created": 1_700_000_000,
}


@pytest.mark.parametrize(
    "broken",
    [{"status": None}, {"start_date": "soon"}, {"items": {"data": [{"id": "si_1", "price": None}]}}],
    ids=lambda broken: next(iter(broken)),
)
def test_a_subscription(
    account: Account, sell: Sell, clock: StandingClock, scripted: Serve, broken: dict[str, Any]
) -> None:
    price = sell("PRO", Kind.SUBSCRIPTION).prices[0].stripe_price_id
    key = account.subscribe(account.customer(), price, metadata={"user": "u0"})
    right = account.shop.stripe.v1.subscriptions.retrieve(key).to_dict()
    page = {"object": "list", "has_more": False, "data": [{**right, "id": "sub_broken", **broken}, right]}
    nothing = {"object": "list", "has_more": False, "data": []}
    _, at = scripted((200, json.dumps(page, default=str)), (200, json.dumps(nothing)))
    clock.advance(seconds=1)
    import_id = read_through(
        account, StripeGateway(stripe_base=None, sandbox_base=at.base, concurrent_calls=2)
    )
    row = account.rows(import_id)["sub_broken"]
    assert (row.outcome, row.reason, row.stripe_customer_id) == ("unmatched", "unread", right["customer"])
    with pytest.raises(InvalidRequest), account.shop.runtime.database.write() as db:
        choose(db, account.scope, import_id=import_id, key="sub_broken", subject_ref="u1")
    assert account.write(import_id) == {"imported": 1}
    assert account.standings() == {"u0": ["PRO active"]}


def read_through(account: Account, gateway: StripeGateway) -> str:
    """The import, read from what this gateway reaches."""
    parts = account.shop.runtime
    account.shop.runtime = dataclasses.replace(parts, gateway=gateway)
    try:
        return account.read()
    finally:
        account.shop.runtime = parts


@pytest.mark.parametrize(
    "listed",
    [
        {"refunds": [{**REFUND, "amount": None}]},
        {"disputes": [{**REFUND, "id": "du_1", "status": None}]},
    ],
    ids=["refund", "dispute"],
)
def test_a_payment(listed: dict[str, Any]) -> None:
    right = read_payment(SESSION, lines=[LINE], refunds=[REFUND])
    assert right is not None
    assert [item["price"] for item in right.items] == ["price_1"]
    found = read_payment(SESSION, lines=[LINE], **listed)
    assert found is not None
    assert (found.key, found.items, found.found, found.stripe_customer_id) == ("cs_1", [], None, "cus_1")
    assert found.made_at.timestamp() == 1_700_000_000
