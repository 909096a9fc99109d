"""Stripe events of every type, whole and with each field missing in turn, through the webhook endpoint.

An acknowledged one is in the inbox as applied, ignored or failed; a refused one is stored as it was sent, as
invalid. A failed one changes nothing but itself: what comes after it is applied.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlmodel import col, select

from licenzy.catalog.models import Kind, Product
from licenzy.checkout.models import CheckoutAttempt
from licenzy.entitlements.models import Entitlement, State
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_gateway.shapes import READ_EVENT_TYPES
from tests.support.cast import WEBHOOK_SECRET, Cast, make_connection, make_product, make_subject
from tests.support.clock import START
from tests.support.databases import SqliteFiles
from tests.support.payloads import DROPPED, changed, events, one_of_each_shape, paths
from tests.support.purchases import event, make_attempt, session_object, signed

ACKNOWLEDGED = {EventStatus.APPLIED, EventStatus.IGNORED, EventStatus.FAILED}


@pytest.fixture
def database_url(sqlite_files: SqliteFiles, tmp_path: Path) -> str:
    return sqlite_files.fresh(tmp_path)


class WebhookSender:
    """A project with a product for every price in the payloads, so that events also produce entitlements."""

    def __init__(self, app: Flask, runtime: Runtime, cast: Cast) -> None:
        self.client, self.database = app.test_client(), runtime.database
        self.numbers = itertools.count(1)
        with self.database.write() as db:
            self.connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
            self.subject = make_subject(db, project_id=cast.project_id)
            self.pack = make_product(
                db, project_id=cast.project_id, kind=Kind.USAGE_PACK, product_code="PACK"
            )
            plans = [
                make_product(
                    db, project_id=cast.project_id, product_code=f"PLAN_{number}", stripe_price_id=price
                )
                for number, price in enumerate(sorted(prices_of_payloads()))
            ]
            # One plan serves for all: what a subscription grants follows from its items' prices.
            self.plan = plans[0]

    def attempt(self, product: Product, *, session_id: str | None = None) -> CheckoutAttempt:
        """An attempt of its own: it counts for its own session and subscription alone."""
        with self.database.write() as db:
            return make_attempt(
                db, connection=self.connection, subject=self.subject, product=product, session_id=session_id
            )

    def as_new_purchase(self, value: dict[str, Any]) -> dict[str, Any]:
        """The event as if it were the first about a purchase that Licenzy's checkout opened."""
        number = next(self.numbers)
        obj = value["data"]["object"]
        obj = {**obj}
        for name in ("id", "subscription", "payment_intent", "charge", "invoice"):
            if isinstance(obj.get(name), str):
                obj[name] = f"{obj[name]}_{number}"
        opened = obj.get("id") if obj.get("object") == "checkout.session" else None
        attempt = self.attempt(self.plan if _is_recurring(value) else self.pack, session_id=opened)
        obj["metadata"] = {"licenzy_attempt": attempt.id}
        if value["type"].startswith("invoice.") and isinstance(obj.get("parent"), dict):
            details = {**(obj["parent"].get("subscription_details") or {})}
            details |= {"subscription": f"sub_{number}", "metadata": obj["metadata"]}
            obj["parent"] = {**obj["parent"], "subscription_details": details}
        return {**value, "id": f"evt_{number}", "livemode": False, "data": {**value["data"], "object": obj}}

    def send(self, value: dict[str, Any]) -> EventStatus:
        """Send it to the endpoint; the status of its row in the inbox, which must be there in any case."""
        body, headers = signed(value, WEBHOOK_SECRET)
        answer = self.client.post(f"/v1/webhooks/stripe/{self.connection.id}", data=body, headers=headers)
        if answer.status_code == 400:
            assert answer.get_json()["error"] == "invalid_event"
            expected = {EventStatus.INVALID}
        else:
            assert answer.status_code == 200, answer.text
            expected = ACKNOWLEDGED
        stored_as_sent = select(col(StripeEvent.status)).where(StripeEvent.payload == body.decode())
        with self.database.read() as db:
            status = db.exec(stored_as_sent).one()
        assert status in expected
        return status

    def send_payment_first(self, value: dict[str, Any]) -> None:
        """Send the checkout that the payment of a refund or dispute belongs to."""
        intent = value["data"]["object"].get("payment_intent")
        if value["type"].startswith(("charge.", "refund.")) and isinstance(intent, str):
            number = next(self.numbers)
            attempt = self.attempt(self.pack, session_id=f"cs_{number}")
            paid = session_object(attempt, payment_intent=intent, subscription=None, mode="payment")
            assert self.send(event("checkout.session.completed", paid)) is EventStatus.APPLIED


@pytest.fixture
def sender(app: Flask, runtime: Runtime, cast: Cast) -> WebhookSender:
    return WebhookSender(app, runtime, cast)


def test_whole_events_are_applied_or_ignored(sender: WebhookSender) -> None:
    statuses: Counter[EventStatus] = Counter()
    for name, raw in events():
        value = sender.as_new_purchase(raw)
        sender.send_payment_first(value)
        status = sender.send(value)
        has_id = isinstance(raw["data"]["object"].get("id"), str)
        assert status in {EventStatus.APPLIED, EventStatus.IGNORED} or not has_id, name
        statuses[status] += 1
        assert sender.send(value) is status
    assert statuses[EventStatus.APPLIED] >= 15, statuses
    assert_still_works(sender)


def test_events_with_some_fields_missing(sender: WebhookSender) -> None:
    """Every sixth top-level field; the slow test drops all, nested too."""
    send_without_each_field(sender, depth=1, step=6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_events_with_every_field_missing_in_turn(sender: WebhookSender) -> None:
    send_without_each_field(sender, depth=4, step=1)


def send_without_each_field(sender: WebhookSender, *, depth: int, step: int) -> None:
    statuses: set[EventStatus] = set()
    for _name, raw in one_of_each_shape():
        if raw["type"] not in READ_EVENT_TYPES:
            continue
        for path in itertools.islice(dropped_paths(sender.as_new_purchase(raw), depth), 0, None, step):
            value = sender.as_new_purchase(raw)
            sender.send_payment_first(value)
            statuses.add(sender.send(changed(value, path, DROPPED)))
    assert statuses == {*ACKNOWLEDGED, EventStatus.INVALID}
    assert_still_works(sender)


def dropped_paths(value: dict[str, Any], depth: int) -> Iterator[tuple[Any, ...]]:
    yield from ((name,) for name in value if name != "id")
    yield from (("data", "object", *path) for path in paths(value["data"]["object"], depth))


def assert_still_works(sender: WebhookSender) -> None:
    """A good purchase is granted after all of that."""
    attempt = sender.attempt(sender.pack, session_id="cs_last")
    session = session_object(attempt, payment_intent="pi_last", mode="payment", subscription=None)
    assert sender.send(event("checkout.session.completed", session, at=START)) is EventStatus.APPLIED
    with sender.database.read() as db:
        granted = db.exec(select(Entitlement).where(Entitlement.purchase_key == "cs_last")).one()
    assert granted.state is State.ACTIVE


def prices_of_payloads() -> set[str]:
    """The prices of all subscriptions in the payloads."""
    found = set()
    for _name, raw in events():
        items = raw["data"]["object"].get("items")
        for item in (items.get("data") or []) if isinstance(items, dict) else []:
            price = item.get("price") or item.get("plan")
            found.add(price["id"] if isinstance(price, dict) else price)
    return {price for price in found if isinstance(price, str)}


def _is_recurring(value: dict[str, Any]) -> bool:
    obj = value["data"]["object"]
    kind: str = value["type"]
    return kind.startswith(("customer.subscription.", "invoice.")) or bool(obj.get("mode") == "subscription")
