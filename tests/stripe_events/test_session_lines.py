"""A session that sold more than it was opened for: its lines are read, and granted where they are mapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlmodel import col, select

from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Entitlement, State
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import StripeEvent
from licenzy.stripe_events.replay import replay_event
from licenzy.stripe_events.snapshots import settle_next
from tests.checkout.conftest import Shop
from tests.reconciliation.test_reconcile import act, buy, walk
from tests.support.cast import make_product
from tests.support.clock import StandingClock

Sell = Callable[..., Product]


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    clock.now = datetime.now(UTC)


def settle(shop: Shop, clock: StandingClock) -> None:
    clock.advance(seconds=5)
    parts = shop.runtime
    while settle_next(parts.database, parts.gateway, parts.secret_box, clock=clock):
        pass


def add_lines(shop: Shop, session: str, *lines: dict[str, Any], quantity: int = 1) -> None:
    """What a buyer does with optional items and quantities on the page that Stripe hosts."""
    with shop.sandbox.app.services.store.writing() as db:
        (body,) = db.execute("SELECT body FROM objects WHERE id = ?", (session,)).fetchone()
        stored = json.loads(body)
        amount = 1200 * quantity
        sold = {"quantity": quantity, "amount_subtotal": amount, "amount_total": amount}
        first = {**stored["_lines"][0], **sold}
        more = [{**first, "id": f"li_{n}", "quantity": 1, **line} for n, line in enumerate(lines)]
        stored["_lines"] = [first, *more]
        stored["amount_total"] = amount + 500 * len(lines)
        db.execute("UPDATE objects SET body = ? WHERE id = ?", (json.dumps(stored), session))


def price(shop: Shop, amount: int = 500) -> Any:
    made = {"unit_amount": amount, "currency": "usd", "product_data": {"name": "Extra"}}
    return shop.stripe.v1.prices.create(made)  # type: ignore[arg-type]


def granted(shop: Shop) -> dict[str, Entitlement]:
    with shop.runtime.database.read() as db:
        rows = db.exec(select(Entitlement).order_by(col(Entitlement.item_key))).all()
    return {row.product_code: row for row in rows}


def notes(shop: Shop, session: str) -> list[str | None]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(StripeEvent.note).where(StripeEvent.object_id == session)).all())


@pytest.mark.parametrize("kind", [Kind.USAGE_PACK, Kind.SUBSCRIPTION])
def test_what_a_buyer_adds_is_granted_where_it_is_mapped(
    shop: Shop, sell: Sell, clock: StandingClock, kind: Kind
) -> None:
    sell("PRO_MONTHLY", kind)
    extra = sell("EXTRA", Kind.USAGE_PACK, units=50)
    unmapped = price(shop)
    session = opened(shop, extra.prices[0].stripe_price_id, unmapped.id)
    walk(shop, clock)
    settle(shop, clock)
    held = granted(shop)
    assert set(held) == {"PRO_MONTHLY", "EXTRA"}
    assert (held["EXTRA"].item_key, held["EXTRA"].granted_units) == (extra.prices[0].stripe_price_id, 50)
    assert held["EXTRA"].purchase_key == held["PRO_MONTHLY"].purchase_key
    assert notes(shop, session) == [f"Also bought, without a product: {unmapped.id}."]
    map_and_replay(shop, session, unmapped.id, clock)
    assert granted(shop)["LATER"].granted_units == 1000
    assert notes(shop, session) == [None]
    rows = granted(shop)
    walk(shop, clock)
    assert granted(shop) == rows


def opened(shop: Shop, *prices: str) -> str:
    answer = shop.checkout().get_json()
    session = str(answer["stripe_checkout_session_id"])
    at_stripe = [json.loads(str(shop.stripe.v1.prices.retrieve(each))) for each in prices]
    amounts = {"amount_subtotal": 500, "amount_total": 500}
    add_lines(shop, session, *({"price": each, **amounts} for each in at_stripe))
    return pay(shop, answer["checkout_url"], session)


def pay(shop: Shop, url: str, session: str) -> str:
    paid = httpx.post(url, data={"action": "pay", "email": "buyer@example.com"})
    assert paid.status_code == 303, paid.text
    return session


def map_and_replay(shop: Shop, session: str, price_id: str, clock: StandingClock) -> None:
    with shop.runtime.database.write() as db:
        make_product(
            db,
            project_id=shop.project_id,
            product_code="LATER",
            kind=Kind.USAGE_PACK,
            stripe_price_id=price_id,
        )
        event_id = db.exec(select(StripeEvent.event_id).where(StripeEvent.object_id == session)).one()
    replay_event(
        shop.runtime.database,
        Scope.of(shop.connection),
        event_id=event_id,
        clock=clock,
    )
    settle(shop, clock)


def test_the_quantity_is_that_of_the_line(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PRO_MONTHLY", Kind.USAGE_PACK)
    answer = shop.checkout().get_json()
    session = str(answer["stripe_checkout_session_id"])
    add_lines(shop, session, quantity=3)
    pay(shop, answer["checkout_url"], session)
    walk(shop, clock)
    settle(shop, clock)
    assert granted(shop)["PRO_MONTHLY"].granted_units == 3000


@pytest.mark.parametrize("kind", [Kind.USAGE_PACK, Kind.SUBSCRIPTION])
def test_a_full_refund_ends_all_that_was_bought_with_the_payment(
    shop: Shop, sell: Sell, clock: StandingClock, kind: Kind
) -> None:
    sell("PRO_MONTHLY", kind)
    extra = sell("EXTRA", Kind.USAGE_PACK)
    opened(shop, extra.prices[0].stripe_price_id)
    walk(shop, clock)
    settle(shop, clock)
    (intent,) = shop.stripe.v1.payment_intents.list().data
    act(shop, action="refund", payment_intent=intent.id)
    walk(shop, clock)
    settle(shop, clock)
    assert granted(shop)["EXTRA"].state is State.CANCELED


def test_nothing_is_read_of_a_session_that_sold_what_it_was_opened_for(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.USAGE_PACK)
    session = buy(shop, "k")
    shop.inject_faults(http_500=50, match=f"GET /v1/checkout/sessions/{session}/line_items")
    assert walk(shop, clock).problems == []
    assert granted(shop)["PRO_MONTHLY"].granted_units == 1000
