"""Payloads of every shape, whole and with every field dropped in turn, through the real door.

Whatever they lack, an acknowledged one is in the inbox as applied, ignored or failed, and a refused one
is kept raw. A failed one changes nothing but itself: what comes after it is applied.
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
from licenzy.stripe_gateway import shapes
from tests.support.cast import Cast, make_connection, make_product, make_subject
from tests.support.clock import START
from tests.support.databases import SqliteFiles
from tests.support.payloads import DROPPED, changed, events, one_of_each_shape, paths
from tests.support.purchases import event, make_attempt, session_object, signed

SECRET = "whsec_first_0123456789abcdef"
KEPT = {EventStatus.APPLIED, EventStatus.IGNORED, EventStatus.FAILED, EventStatus.WRONG_MODE}


@pytest.fixture
def database_url(sqlite_files: SqliteFiles, tmp_path: Path) -> str:
    return sqlite_files.fresh(tmp_path)


class Door:
    """A shop whose product every purchase in the payloads is of, so that what is read is also projected."""

    def __init__(self, app: Flask, runtime: Runtime, cast: Cast) -> None:
        self.client, self.database = app.test_client(), runtime.database
        self.numbers = itertools.count(1)
        with self.database.write() as db:
            self.connection = make_connection(
                db, project_id=cast.project_id, secret_box=runtime.secret_box, webhook_secret=SECRET
            )
            self.subject = make_subject(db, project_id=cast.project_id)
            pack = make_product(db, project_id=cast.project_id, kind=Kind.USAGE_PACK, product_code="PACK")
            self.pack = pack
            for number, price in enumerate(sorted(prices_of_payloads())):
                self.plan = make_product(
                    db, project_id=cast.project_id, product_code=f"PLAN_{number}", stripe_price_id=price
                )

    def attempt(self, product: Product, *, session_id: str | None = None) -> CheckoutAttempt:
        """An attempt of its own: it counts for its own session and subscription alone."""
        with self.database.write() as db:
            return make_attempt(
                db, connection=self.connection, subject=self.subject, product=product, session_id=session_id
            )

    def ours(self, value: dict[str, Any]) -> dict[str, Any]:
        """The event as if it were about a purchase of ours that nothing was told of yet."""
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
        """Deliver it; what became of it. Anything but an acknowledgement or `invalid_event` fails."""
        body, headers = signed(value, SECRET)
        answer = self.client.post(f"/v1/webhooks/stripe/{self.connection.id}", data=body, headers=headers)
        if answer.status_code == 400:
            assert answer.get_json()["error"] == "invalid_event"
            return EventStatus.INVALID
        assert answer.status_code == 200, answer.text
        with self.database.read() as db:
            status = db.exec(select(col(StripeEvent.status)).where(StripeEvent.event_id == value["id"])).one()
        assert status in KEPT
        return status

    def prepare(self, value: dict[str, Any]) -> None:
        """Let the payment of a refund or dispute be one for a pack of ours."""
        intent = value["data"]["object"].get("payment_intent")
        if value["type"].startswith(("charge.", "refund.")) and isinstance(intent, str):
            number = next(self.numbers)
            attempt = self.attempt(self.pack, session_id=f"cs_{number}")
            paid = session_object(attempt, payment_intent=intent, subscription=None, mode="payment")
            assert self.send(event("checkout.session.completed", paid)) is EventStatus.APPLIED


@pytest.fixture
def door(app: Flask, runtime: Runtime, cast: Cast) -> Door:
    return Door(app, runtime, cast)


def test_payloads_are_applied_or_ignored(door: Door) -> None:
    became: Counter[EventStatus] = Counter()
    for name, raw in events():
        value = door.ours(raw)
        door.prepare(value)
        status = door.send(value)
        whole = isinstance(raw["data"]["object"].get("id"), str)
        assert status in {EventStatus.APPLIED, EventStatus.IGNORED} or not whole, name
        became[status] += 1
        assert door.send(value) is status
    assert became[EventStatus.APPLIED] >= 15, became
    assert still_works(door)


def test_fields_of_the_object_dropped_in_turn(door: Door) -> None:
    """One of six; the next test has all."""
    drop_in_turn(door, depth=1, each=6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_field_within_the_object_dropped_in_turn(door: Door) -> None:
    drop_in_turn(door, depth=4, each=1)


def drop_in_turn(door: Door, *, depth: int, each: int) -> None:
    became: Counter[EventStatus] = Counter()
    sent: list[str] = []
    for _name, raw in one_of_each_shape():
        if raw["type"] not in shapes._READERS:
            continue
        for path in itertools.islice(dropped_paths(door.ours(raw), depth), 0, None, each):
            value = door.ours(raw)
            door.prepare(value)
            status = door.send(changed(value, path, DROPPED))
            became[status] += 1
            if status is not EventStatus.INVALID:
                sent.append(value["id"])
    print(dict(became))
    assert set(became) == {*KEPT, EventStatus.INVALID} - {EventStatus.WRONG_MODE}
    with door.database.read() as db:
        assert set(sent) <= set(db.exec(select(StripeEvent.event_id)).all())
    assert still_works(door)


def dropped_paths(value: dict[str, Any], depth: int) -> Iterator[tuple[Any, ...]]:
    yield from ((name,) for name in value if name != "id")
    yield from (("data", "object", *path) for path in paths(value["data"]["object"], depth))


def still_works(door: Door) -> bool:
    """Whether a good purchase is granted after all of that."""
    attempt = door.attempt(door.pack, session_id="cs_last")
    session = session_object(attempt, payment_intent="pi_last", mode="payment", subscription=None)
    assert door.send(event("checkout.session.completed", session, at=START)) is EventStatus.APPLIED
    with door.database.read() as db:
        granted = db.exec(select(Entitlement).where(Entitlement.purchase_key == "cs_last")).one()
    return granted.state is State.ACTIVE


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
