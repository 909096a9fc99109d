"""What endpoints are told of: every change once, in its own transaction, with the whole body."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as sql_event
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.deliveries.models import Delivery, EventType, OutboundEvent
from licenzy.entitlements.grants import OperatorContext, adjust_units, grant, revoke
from licenzy.factory import create_app
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.replay import replay_purchases
from licenzy.workspace.audit import Actor
from tests.deliveries.test_schemas import wrong
from tests.entitlements.fixtures_purchases import DAY, MONTH, Sale, Storefront
from tests.support.cast import Cast, make_cast, make_connection
from tests.support.clock import START, StandingClock
from tests.support.endpoints import make_endpoint
from tests.support.event_schemas import DATA_FIELDS


class Shop:
    """A connected project whose endpoints are told of everything."""

    def __init__(self, storefront: Storefront, parts: Runtime, cast: Cast) -> None:
        self.storefront = storefront
        self.parts = parts
        self.cast = cast
        self._right: set[str] = set()

    def outbound_bodies(self) -> list[dict[str, Any]]:
        """The bodies, first written first."""
        with self.parts.database.read() as db:
            rows = db.exec(select(OutboundEvent).order_by(col(OutboundEvent.id))).all()
        bodies = [json.loads(row.body) for row in rows]
        assert [
            complaint for body in bodies if body["id"] not in self._right for complaint in wrong(body)
        ] == []
        self._right.update(body["id"] for body in bodies)  # What is told is never changed.
        return bodies

    def types(self) -> Counter[str]:
        return Counter(body["type"] for body in self.outbound_bodies())

    def listen(self, *types: str) -> str:
        with self.parts.database.write() as db:
            made, _secret = make_endpoint(
                db,
                project_id=self.cast.project_id,
                secret_box=self.parts.secret_box,
                types=types or [each.value for each in EventType],
            )
            return made.id


@pytest.fixture
def shop(settings: Any) -> Iterator[Shop]:
    app = create_app(settings, clock=StandingClock())
    parts: Runtime = app.extensions["licenzy"]
    with parts.database.write() as db:
        cast = make_cast(db, now=START)
        connection = make_connection(db, project_id=cast.project_id, secret_box=parts.secret_box)
    yield Shop(Storefront(app.test_client(), parts.database, connection), parts, cast)
    parts.database.close()


def operator(shop: Shop) -> OperatorContext:
    return OperatorContext(
        Scope(shop.cast.project_id, Mode.TEST), Actor(shop.cast.owner.user_id), "asked for", START
    )


def test_a_one_time_purchase_is_told_once(shop: Shop) -> None:
    shop.listen()
    sale = shop.storefront.sell(shop.storefront.product(Kind.USAGE_PACK))
    sale.session()
    sale.session()
    assert shop.types() == {"purchase.finalized": 1, "entitlement.updated": 1}
    for body in shop.outbound_bodies():
        assert set(body) == {
            "id", "type", "created_at", "mode", "project_id", "source", "reason", "subject_ref", "data",
        }  # fmt: skip
        assert tuple(body["data"]) == DATA_FIELDS
        assert (body["mode"], body["source"], body["reason"]) == ("test", "stripe", "checkout_finalized")
    finalized = next(body["data"] for body in shop.outbound_bodies() if body["type"] == "purchase.finalized")
    assert finalized == {
        "entitlement_id": sale.row().id,
        "product_code": sale.attempt.product_code,
        "kind": "usage_pack",
        "status": "active",
        "available": True,
        "usage_remaining": 1000,
        "unit": "units",
        "units": 1000,
        "valid_until": None,
        "canceled_at": None,
        "attempt_id": sale.attempt.id,
        "amount_total": 1200,
        "currency": "usd",
        "stripe_checkout_session_id": sale.attempt.stripe_checkout_session_id,
        "stripe_subscription_id": None,
        "stripe_event_id": sale.sent[0]["id"],
        "actor_user_id": None,
    }


def test_a_late_payment_is_told_when_it_comes(shop: Shop) -> None:
    shop.listen()
    sale = shop.storefront.sell(shop.storefront.product(Kind.TIME_PASS))
    sale.session(paid="unpaid")
    assert shop.types() == {}
    sale.session("async_payment_succeeded", at=START + DAY)
    assert shop.types() == {"purchase.finalized": 1, "entitlement.updated": 1}


@pytest.mark.parametrize("order", ["session first", "session last"])
def test_a_subscription_is_told_from_its_first_to_its_last_day(shop: Shop, order: str) -> None:
    shop.listen()
    sale = shop.storefront.sell(shop.storefront.product(Kind.SUBSCRIPTION))
    if order == "session first":
        sale.session()
        sale.subscription("active", event_name="created")
    else:
        sale.subscription("active", event_name="created")
    sale.invoice("paid")
    sale.invoice("payment_succeeded")
    sale.session()
    types = shop.types()
    assert types["purchase.finalized"] == 1
    assert types["invoice.payment_succeeded"] == 1
    assert types["subscription.updated"] == 0
    sale.subscription("active", period=2, at=START + MONTH)
    sale.invoice("payment_failed", period=2, at=START + MONTH)
    sale.invoice("payment_failed", period=2, at=START + MONTH + DAY)
    sale.subscription("past_due", period=2, at=START + MONTH + DAY)
    sale.subscription("past_due", period=2, at=START + MONTH + DAY)
    after = shop.types() - types
    assert after["invoice.payment_failed"] == 1
    assert after["subscription.updated"] == 2, "renewed, then past due; the repeat changed nothing"
    before = shop.types()
    for _ in range(2):
        sale.subscription("canceled", event_name="deleted", period=2, at=START + MONTH + 2 * DAY)
    after = shop.types() - before
    assert after == {"subscription.deleted": 1, "entitlement.updated": 1}
    last = next(body for body in shop.outbound_bodies() if body["type"] == "subscription.deleted")
    assert last["reason"] == "subscription_deleted"
    assert last["data"]["status"] == "canceled"
    assert last["data"]["stripe_subscription_id"] == sale.sub


def test_another_quantity_is_a_change_of_the_subscription(shop: Shop) -> None:
    sale = shop.storefront.sell(shop.storefront.product(Kind.SUBSCRIPTION)).subscribed()
    shop.listen()
    for _ in range(2):
        sale.subscription("active", at=START + DAY, quantity=5)
    assert sale.row().quantity == 5
    assert shop.types() == {"subscription.updated": 1, "entitlement.updated": 1}


def test_a_refund_and_its_failure_are_told(shop: Shop) -> None:
    shop.listen("entitlement.updated")
    sale = shop.storefront.sell(shop.storefront.product(Kind.USAGE_PACK))
    sale.session()
    sale.refund(at=START + DAY)
    sale.refund("failed", at=START + 2 * DAY)
    assert [body["data"]["available"] for body in shop.outbound_bodies()] == [True, False, True]
    assert [body["reason"] for body in shop.outbound_bodies()] == ["checkout_finalized", "refund", "refund"]


def test_a_pass_that_another_moves_is_told_of_too(shop: Shop) -> None:
    shop.listen("entitlement.updated")
    product, buyer = shop.storefront.product(Kind.TIME_PASS), shop.storefront.subject()
    first = shop.storefront.sell(product, subject=buyer)
    second = shop.storefront.sell(product, subject=buyer)
    second.session(at=START + timedelta(hours=2))
    first.session(at=START + timedelta(hours=1))
    about = [body["data"]["entitlement_id"] for body in shop.outbound_bodies()]
    assert about == [second.row().id, first.row().id, second.row().id] or about == [
        second.row().id, second.row().id, first.row().id,
    ]  # fmt: skip


def test_operators_are_named(shop: Shop) -> None:
    shop.listen()
    product = shop.storefront.product(Kind.USAGE_PACK)
    with shop.parts.database.write() as db:
        (given,) = grant(db, operator(shop), subject_ref="user_9", product=product)
    with shop.parts.database.write() as db:
        adjust_units(db, operator(shop), entitlement_id=given["entitlement"], units=5)
    with shop.parts.database.write() as db:
        revoke(db, operator(shop), entitlement_id=given["entitlement"])
    told = shop.outbound_bodies()
    assert [body["type"] for body in told] == ["entitlement.updated"] * 3
    assert [body["reason"] for body in told] == ["manual_grant", "manual_adjust", "manual_revoke"]
    assert {body["source"] for body in told} == {"portal"}
    assert {body["data"]["actor_user_id"] for body in told} == {shop.cast.owner.user_id}
    assert {body["subject_ref"] for body in told} == {"user_9"}
    assert [body["data"]["usage_remaining"] for body in told] == [1000, 1005, 0]


def test_each_endpoint_gets_what_it_wants_and_the_same_id(shop: Shop) -> None:
    all_of_it, some = shop.listen(), shop.listen("purchase.finalized")
    shop.storefront.sell(shop.storefront.product(Kind.USAGE_PACK)).session()
    with shop.parts.database.read() as db:
        rows = db.exec(select(Delivery)).all()
    assert Counter((row.endpoint_id, row.type.value) for row in rows) == {
        (all_of_it, "purchase.finalized"): 1,
        (all_of_it, "entitlement.updated"): 1,
        (some, "purchase.finalized"): 1,
    }
    finalized = {row.event_id for row in rows if row.type is EventType.PURCHASE_FINALIZED}
    assert len(finalized) == 1


def test_replaying_tells_nothing_anew(shop: Shop) -> None:
    sales: list[Sale] = [shop.storefront.sell(shop.storefront.product(Kind.SUBSCRIPTION)).subscribed()]
    sales.append(shop.storefront.sell(shop.storefront.product(Kind.TIME_PASS)))
    sales[1].session()
    shop.listen()
    for sale in sales:
        for value in sale.sent:
            shop.storefront.deliver(value)
    replayed = replay_purchases(shop.parts.database, clock=shop.parts.clock)
    assert [changes for _key, changes in replayed] == [[], []]
    assert shop.outbound_bodies() == []


def test_what_is_rolled_back_is_not_told(shop: Shop) -> None:
    shop.listen()
    product = shop.storefront.product(Kind.USAGE_PACK)
    with suppress(RuntimeError), shop.parts.database.write() as db:
        grant(db, operator(shop), subject_ref="user_9", product=product)
        assert db.exec(select(OutboundEvent)).all()
        raise RuntimeError("pulled the plug")
    assert shop.outbound_bodies() == []


def test_the_other_mode_and_strangers_hear_nothing(shop: Shop) -> None:
    with shop.parts.database.write() as db:
        for project_id, mode in (
            (shop.cast.project_id, Mode.LIVE),
            (shop.cast.stranger.project_id, Mode.TEST),
        ):
            make_endpoint(
                db,
                project_id=project_id,
                secret_box=shop.parts.secret_box,
                mode=mode,
                url="https://example.com/hook",
            )
    shop.storefront.sell(shop.storefront.product(Kind.USAGE_PACK)).session()
    assert shop.outbound_bodies() == []


def test_where_nobody_listens_one_read_is_all_it_costs(shop: Shop) -> None:
    sale = shop.storefront.sell(shop.storefront.product(Kind.USAGE_PACK))
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sql_event.listen(shop.parts.database.engine, "before_cursor_execute", note)
    sale.session()
    sql_event.remove(shop.parts.database.engine, "before_cursor_execute", note)
    assert len([statement for statement in seen if "webhook_endpoints" in statement]) == 1
    assert not [each for each in seen if "outbound_events" in each or "deliveries" in each]
