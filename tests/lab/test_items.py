"""Several products bought by one checkout, over HTTP to the sandbox and back by signed webhooks."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.catalog.models import Kind
from licenzy.checkout.preparation import RequestedItem
from licenzy.entitlements.models import Entitlement, Fact
from licenzy.stripe_events.replay import replay_purchases
from tests.conftest import LiveServer
from tests.support.cast import Cast, make_product
from tests.support.playground import Playground, make_playground
from tests.support.sizes import LARGE_ON_SQLITE

pytestmark = pytest.mark.slow


@pytest.fixture
def playground(live_server: LiveServer, cast: Cast) -> Playground:
    return make_playground(live_server.runtime, cast)


def sell(playground: Playground, cast: Cast, code: str, kind: Kind, **columns: Any) -> None:
    params: Any = {"unit_amount": 1000, "currency": "usd", "product_data": {"name": code}}
    if kind is Kind.SUBSCRIPTION:
        params["recurring"] = {"interval": "month"}
    price = playground.stripe.v1.prices.create(params)
    with playground.runtime.database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            product_code=code,
            kind=kind,
            stripe_price_id=price.id,
            **columns,
        )


def granted_rows(playground: Playground) -> list[Entitlement]:
    with playground.runtime.database.read() as db:
        return list(db.exec(select(Entitlement).order_by(col(Entitlement.product_code))))


def shown(playground: Playground) -> list[tuple[str, int, str]]:
    return [(each.product_code, each.quantity, each.state.value) for each in granted_rows(playground)]


def replayed_alike(playground: Playground) -> bool:
    before = [row.model_dump() for row in granted_rows(playground)]
    database, clock = playground.runtime.database, playground.runtime.clock
    assert all(changes == [] for _key, changes in replay_purchases(database, clock=clock))
    return before == [row.model_dump() for row in granted_rows(playground)]


@LARGE_ON_SQLITE
def test_recurring_items_are_rights_of_one_subscription(playground: Playground, cast: Cast) -> None:
    sell(playground, cast, "BASE", Kind.SUBSCRIPTION)
    sell(playground, cast, "SEATS", Kind.SUBSCRIPTION, features=["seats"])
    attempt = playground.checkout_of(RequestedItem("BASE"), RequestedItem("SEATS", quantity=4))
    playground.let("pay_session", attempt)
    assert shown(playground) == [("BASE", 1, "active"), ("SEATS", 4, "active")]
    assert len({each.purchase_key for each in granted_rows(playground)}) == 1
    assert [each.terms_version for each in granted_rows(playground)] == [1, 1]
    playground.let("renew_in_time", attempt)
    playground.let("reconcile", attempt)
    assert shown(playground) == [("BASE", 1, "active"), ("SEATS", 4, "active")]
    playground.let("refund_partially", attempt)
    assert [state for _code, _quantity, state in shown(playground)] == ["active", "active"]
    playground.let("refund", attempt)
    assert [state for _code, _quantity, state in shown(playground)] == ["suspended", "suspended"]
    assert replayed_alike(playground)


@LARGE_ON_SQLITE
def test_one_time_items_are_rights_of_one_session(playground: Playground, cast: Cast) -> None:
    sell(playground, cast, "BONUS", Kind.USAGE_PACK, units=50, unit="images")
    asked = (RequestedItem("DAY_PASS"), RequestedItem("CREDITS_1000", quantity=2), RequestedItem("BONUS"))
    attempt = playground.checkout_of(*asked)
    playground.let("pay_session", attempt)
    assert shown(playground) == [
        ("BONUS", 1, "active"), ("CREDITS_1000", 2, "active"), ("DAY_PASS", 1, "active"),
    ]  # fmt: skip
    keys = {each.product_code: each.item_key for each in granted_rows(playground)}
    assert keys["DAY_PASS"] == ""
    assert len(set(keys.values())) == 3
    granted = {each.product_code: (each.granted_units, each.unit) for each in granted_rows(playground)}
    assert granted["BONUS"] == (50, "images")
    assert granted["CREDITS_1000"][0] == 2 * 1000
    playground.let("reconcile", attempt)
    playground.let("refund_partially", attempt)
    assert {state for _code, _quantity, state in shown(playground)} == {"active"}
    with playground.runtime.database.read() as db:
        assert db.exec(select(Fact).where(Fact.kind == "refund")).first() is not None
    playground.let("refund", attempt)
    assert {state for _code, _quantity, state in shown(playground)} == {"canceled"}
    assert {each.reason for each in granted_rows(playground)} == {"refunded"}
    assert replayed_alike(playground)
