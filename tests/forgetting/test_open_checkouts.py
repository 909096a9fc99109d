"""Checkouts that were open when their customer was erased: expired at Stripe, or paid and ignored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.checkout.models import CheckoutAttempt
from licenzy.forgetting.actions import ForgottenNow, forget_now
from licenzy.reconciliation.actions import reconcile
from licenzy.workspace.audit import Actor
from tests.forgetting.customers import Market, Person
from tests.forgetting.test_erased import rows_with, sums

EVE = Person("eve_canary_ref_3", "eve.canary@example.com", "Eve of Canary Lane")


@pytest.fixture
def opened(market: Market, sell: Callable[..., Product]) -> list[str]:
    """The addresses of two checkouts, which nobody has paid yet."""
    sell("CREDITS", Kind.USAGE_PACK, units=1000)
    sell("PRO", Kind.SUBSCRIPTION)
    asked = {"subject_ref": EVE.ref, "customer_email": EVE.email}
    answers = [
        market.post("/v1/checkout/session", {**asked, "product_code": code}) for code in ("CREDITS", "PRO")
    ]
    return [answer.json["checkout_url"] for answer in answers]


def forget_eve(market: Market) -> ForgottenNow:
    parts = market.parts
    return forget_now(
        parts.database,
        parts.gateway,
        parts.secret_box,
        market.scope,
        subject_ref=EVE.ref,
        actor=Actor(),
        clock=market.clock,
    )


def test_they_are_expired_at_stripe(market: Market, opened: list[str]) -> None:
    assert forget_eve(market).open_checkouts == []
    sessions = market.account.shop.sessions()
    assert [each.status for each in sessions] == ["expired"] * len(opened)
    with market.parts.database.read() as db:
        assert set(db.exec(select(CheckoutAttempt.reason))) == {"expired"}


@pytest.mark.parametrize("newest_first", [False, True])
def test_one_that_is_paid_brings_nobody_back_and_leaves_no_byte(
    market: Market, opened: list[str], newest_first: bool
) -> None:
    shop = market.account.shop
    shop.inject_faults(http_500=99)
    assert len(forget_eve(market).open_checkouts) == len(opened)
    market.clock.advance(seconds=60)
    forget_eve(market)
    shop.behave()
    for url in opened:
        assert httpx.post(url, data={"action": "pay", "email": EVE.email}).status_code == 303

    told = events_of(market, newest_first=newest_first)
    receive_all(market, told)
    intent = next(str(each.payment_intent) for each in shop.sessions() if each.mode == "payment")
    market.account.act("dispute", payment_intent=intent)
    receive_all(market, [each for each in events_of(market) if each not in told])
    market.clock.advance(seconds=60)
    parts = market.parts
    reconcile(
        parts.database,
        parts.gateway,
        parts.secret_box,
        connection=shop.connection,
        clock=market.clock,
        full=True,
    )
    assert forget_eve(market).remaining.value == "nothing"

    customers = tuple(each.id for each in shop.stripe.v1.customers.list({"limit": 100}).data)
    assert customers
    names = (*EVE.canaries, *customers)
    assert rows_with(market.rows(), names) == {}
    stored = market.bytes_of_files()
    assert [name for name in names if name.encode() in stored] == []
    counted = sums(market)
    assert [counted[each] for each in ("entitlements", "ledger", "money")] == [
        (None, None, 0), (None, 0), (None, 0)
    ]  # fmt: skip
    access = market.post("/v1/access/check", {"subject_ref": EVE.ref, "product_code": "PRO"})
    assert access.json["allowed"] is False


def events_of(market: Market, *, newest_first: bool = False) -> list[Any]:
    events = market.account.shop.stripe.v1.events.list({"limit": 100}).data
    return sorted(events, key=lambda each: (each.created, each.id), reverse=newest_first)


def receive_all(market: Market, events: Iterable[Any]) -> None:
    for event in events:
        assert market.receive(json.loads(str(event))).status_code == 200
