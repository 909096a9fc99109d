"""Real lives at the sandbox: its events in disorder, then the settling reads; the end is as Stripe has it."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
import stripe
from flask import Flask
from sqlmodel import col, select

from licenzy.connections.models import Provider
from licenzy.entitlements.models import Entitlement, State
from licenzy.kit.clock import from_unix
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, SettlingRead, StripeEvent
from tests.conftest import Sandbox
from tests.properties.test_histories import SEED
from tests.support.cast import WEBHOOK_SECRET, Cast, make_connection, make_product, make_subject
from tests.support.clock import StandingClock
from tests.support.purchases import make_attempt, signed
from tests.support.worker import work_once

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LIVES = 15
ACTIONS = (
    *("renew", "renew", "fail_renewal", "recover", "cancel", "cancel_at_period_end", "keep", "change_plan"),
    *("pause", "resume", "pause_collection", "resume_collection", "refund", "refund", "refund_partially"),
    *("fail_refund", "dispute", "lose_dispute", "win_dispute", "inquire"),
)
OF_A_PERIOD = {"subscription_create", "subscription_cycle"}
STATES = {
    "active": State.ACTIVE,
    "trialing": State.TRIALING,
    "past_due": State.PAST_DUE,
    "unpaid": State.SUSPENDED,
    "paused": State.PAUSED,
    "canceled": State.CANCELED,
}


class Account:
    """An account of the sandbox with its owner's key and the console's actions."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.url = sandbox.url
        self.control = {"Authorization": f"Bearer {sandbox.control_token}"}
        made = httpx.post(f"{self.url}/_sandbox/accounts", json={"name": "Acme"}, headers=self.control).json()
        self.id, self.key = made["account"], made["secret_key"]
        self.stripe = stripe.StripeClient(self.key, base_addresses={"api": self.url}).v1

    def price(self, amount: int) -> str:
        made: Any = {
            "unit_amount": amount,
            "currency": "usd",
            "recurring": {"interval": "month"},
            "product_data": {"name": "Pro"},
        }
        return str(self.stripe.prices.create(made).id)

    def subscribe(self, price: str) -> tuple[str, str]:
        """Ids of the paid session and of its subscription."""
        asked: Any = {
            "mode": "subscription",
            "line_items": [{"price": price, "quantity": 1}],
            "success_url": "https://shop.test/thanks",
            "cancel_url": "https://shop.test/cart",
        }
        session = self.stripe.checkout.sessions.create(asked)
        assert httpx.post(f"{self.url}/pay/{session.id}", data={"action": "pay"}).status_code == 303
        return session.id, str(self.stripe.checkout.sessions.retrieve(session.id).subscription)

    def act(self, action: str, **named: Any) -> None:
        """Let something happen; what makes no sense at the moment is refused and does not."""
        address = f"{self.url}/_sandbox/accounts/{self.id}/actions"
        done = httpx.post(address, json={"action": action, **named}, headers=self.control)
        assert done.status_code in {200, 400}, done.text

    def paid_invoice(self, subscription: str) -> Any:
        """The paid invoice of the latest period."""
        paid = self.stripe.invoices.list({"subscription": subscription, "status": "paid", "limit": 100}).data
        return max(
            (each for each in paid if each.billing_reason in OF_A_PERIOD),
            key=lambda each: max(line.period.end for line in each.lines.data),
        )

    def intent_of(self, invoice: Any) -> str:
        payments = self.stripe.invoice_payments.list({"invoice": invoice.id}).data
        return str(payments[0].payment.payment_intent)

    def events(self) -> list[dict[str, Any]]:
        """Everything told so far, oldest first, as it goes over the wire."""
        found: list[dict[str, Any]] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = httpx.get(
                f"{self.url}/v1/events",
                params={"limit": 100, **after},
                headers={"Authorization": f"Bearer {self.key}"},
            ).json()
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]


def test_lives_end_as_stripe_has_them(
    app: Flask, runtime: Runtime, cast: Cast, sandbox: Sandbox, clock: StandingClock
) -> None:
    print(f"seed {SEED}")
    chance, account = random.Random(SEED), Account(sandbox)
    prices = [account.price(1200), account.price(4900)]
    with runtime.database.write() as db:
        connection = make_connection(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            provider=Provider.SANDBOX,
            stripe_key=account.key,
        )
        products = [
            make_product(db, project_id=cast.project_id, product_code=f"P{n}", stripe_price_id=price)
            for n, price in enumerate(prices)
        ]
    lives: dict[str, str] = {}
    for number in range(LIVES):
        session, subscription = account.subscribe(prices[0])
        with runtime.database.write() as db:
            subject = make_subject(db, project_id=cast.project_id, subject_ref=f"user_{number}")
            attempt = make_attempt(
                db, connection=connection, subject=subject, product=products[0], session_id=session
            )
        lives[subscription] = attempt.id
        for _ in range(chance.randrange(0, 6)):
            something_happens(chance, account, subscription, prices)
    events = account.events()
    deliver(app, f"/v1/webhooks/stripe/{connection.id}", events, clock)
    settle(runtime, clock)
    ends = set()
    for subscription, attempt_id in lives.items():
        story = [(e["type"], e["created"]) for e in events if subscription in str(e["data"]["object"])]
        ends.add(assert_as_stripe_has_it(runtime, account, subscription, attempt_id, story))
    assert len(ends) >= 3, "these lives are too much alike"


def something_happens(chance: random.Random, account: Account, subscription: str, prices: list[str]) -> None:
    action = chance.choice(ACTIONS)
    named: dict[str, Any] = {"subscription": subscription}
    if action == "change_plan":
        named |= {"price": chance.choice(prices), "quantity": chance.randrange(1, 5)}
    if "refund" in action or "dispute" in action or action == "inquire":
        named = {"payment_intent": account.intent_of(account.paid_invoice(subscription))}
    if action == "fail_refund":
        given = account.stripe.refunds.list({"payment_intent": named["payment_intent"]}).data
        if not given:
            return
        named = {"refund": given[0].id}
    account.act(action, **named)


def deliver(app: Flask, address: str, events: list[dict[str, Any]], clock: StandingClock) -> None:
    """Two deliverers, each with everything in an order of its own."""
    answers: list[int] = []

    def work(seed: str) -> None:
        client, mine = app.test_client(), list(events)
        random.Random(seed).shuffle(mine)
        for event in mine:
            body, headers = signed(event, WEBHOOK_SECRET, at=clock())
            answers.append(client.post(address, data=body, headers=headers).status_code)

    threads = [threading.Thread(target=work, args=(f"{SEED} {name}",)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * (2 * len(events))


def settle(runtime: Runtime, clock: StandingClock) -> None:
    """The worker's rounds until nothing is due any more."""
    for _ in range(20):
        clock.advance(seconds=5)
        if not work_once(runtime):
            break
    with runtime.database.read() as db:
        assert db.exec(select(SettlingRead).where(col(SettlingRead.due_at).is_not(None))).all() == []
        failed = db.exec(select(StripeEvent).where(StripeEvent.status == EventStatus.FAILED)).all()
        assert [row.note for row in failed] == []


def assert_as_stripe_has_it(
    runtime: Runtime, account: Account, subscription: str, attempt_id: str, story: list[tuple[str, int]]
) -> tuple[State, str | None]:
    with runtime.database.read() as db:
        row = db.exec(select(Entitlement).where(Entitlement.attempt_id == attempt_id)).one()
    there = account.stripe.subscriptions.retrieve(subscription)
    item = there["items"].data[0]
    assert (row.state, row.reason) == truth(account, there), story
    assert row.product_code == {1200: "P0", 4900: "P1"}[item.price.unit_amount], story
    assert row.quantity == item.quantity, story
    if row.state is State.ACTIVE:
        until = from_unix(there.cancel_at or item.current_period_end)
        assert row.valid_until == until, story
        assert row.ends_at == (until if there.cancel_at else until + timedelta(hours=72)), story
    return row.state, row.reason


def truth(account: Account, there: Any) -> tuple[State, str | None]:
    """State and reason, from what the account says of the subscription and of its latest paid invoice."""
    if there.status == "canceled":
        return State.CANCELED, None
    intent = account.intent_of(account.paid_invoice(there.id))
    charge = account.stripe.charges.list({"payment_intent": intent}).data[0]
    disputes = [each.status for each in account.stripe.disputes.list({"payment_intent": intent}).data]
    if charge.refunded:
        return State.SUSPENDED, "refunded"
    if "lost" in disputes:
        return State.CANCELED, "disputed"
    if {"needs_response", "under_review"} & set(disputes):
        return State.SUSPENDED, "disputed"
    if there.pause_collection and there.pause_collection.behavior == "void":
        return State.PAUSED, None
    state = STATES[there.status]
    return state, "past_due" if state is State.SUSPENDED else None
