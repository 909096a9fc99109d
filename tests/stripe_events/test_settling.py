"""Settling reads that fail: the state stands, the reason is kept, what can be mended is retried."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select

from licenzy.catalog.models import Kind, Product
from licenzy.connections.models import Connection
from licenzy.entitlements.models import Entitlement, State
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import SettlingRead
from licenzy.stripe_events.settling import claim_now, read_done, request_read
from licenzy.stripe_events.snapshots import settle_next
from tests.checkout.conftest import Shop
from tests.reconciliation.test_reconcile import buy, walk
from tests.support.clock import StandingClock

Sell = Callable[..., Product]


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    clock.now = datetime.now(UTC)


@pytest.fixture
def subscription(shop: Shop, sell: Sell, clock: StandingClock) -> str:
    """A subscription that is known, and asked to be read once more."""
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    walk(shop, clock)
    with shop.runtime.database.read() as db:
        held = db.exec(select(Entitlement)).one()
    assert held.stripe_subscription_id is not None
    ask(shop, held.stripe_subscription_id, clock)
    clock.advance(seconds=5)
    return held.stripe_subscription_id


def ask(shop: Shop, object_id: str, clock: StandingClock) -> None:
    connection = shop.connection
    shop.runtime.database.retrying(
        lambda db: request_read(
            db,
            Scope(shop.project_id, connection.mode),
            connection_id=connection.id,
            object_id=object_id,
            now=clock(),
        )
    )


def settle(shop: Shop, clock: StandingClock) -> bool:
    parts = shop.runtime
    return settle_next(parts.database, parts.gateway, parts.secret_box, clock=clock, random=lambda: 0.5)


def request(shop: Shop, object_id: str) -> SettlingRead:
    with shop.runtime.database.read() as db:
        return db.exec(select(SettlingRead).where(SettlingRead.object_id == object_id)).one()


def state(shop: Shop) -> State:
    with shop.runtime.database.read() as db:
        return db.exec(select(col(Entitlement.state))).one()


def at_stripe(shop: Shop, statement: str, subscription: str) -> None:
    with shop.sandbox.app.services.store.writing() as db:
        db.execute(f"UPDATE objects SET {statement} WHERE id = ?", (subscription,))


def test_an_object_stripe_does_not_know_is_not_asked_for_again(
    shop: Shop, subscription: str, clock: StandingClock
) -> None:
    at_stripe(shop, "deleted = 1", subscription)
    assert settle(shop, clock)
    row = request(shop, subscription)
    assert "No such subscription" in (row.problem or "")
    assert (row.due_at, state(shop)) == (None, State.ACTIVE)
    clock.advance(days=1)
    assert not settle(shop, clock)


def test_a_stripe_that_does_not_answer_is_asked_again(
    shop: Shop, subscription: str, clock: StandingClock
) -> None:
    shop.inject_faults(http_500=50, match=f"GET /v1/subscriptions/{subscription}")
    assert settle(shop, clock)
    row = request(shop, subscription)
    assert (row.tries, state(shop)) == (1, State.ACTIVE)
    assert row.problem == "Stripe reported an internal error."
    assert row.due_at is not None
    assert row.due_at - clock() == timedelta(seconds=33)
    assert not settle(shop, clock)
    shop.behave()
    clock.advance(minutes=1)
    assert settle(shop, clock)
    row = request(shop, subscription)
    assert (row.problem, row.due_at, row.tries) == (None, None, 0)


def test_a_key_that_was_rolled_is_named_and_the_backlog_drains_with_the_new_one(
    shop: Shop, subscription: str, clock: StandingClock
) -> None:
    with shop.sandbox.app.services.store.writing() as db:
        db.execute("UPDATE keys SET secret = secret || 'rolled'")
    assert settle(shop, clock)
    assert "rejected" in (request(shop, subscription).problem or "")
    assert state(shop) is State.ACTIVE
    with shop.sandbox.app.services.store.writing() as db:
        db.execute("UPDATE keys SET secret = replace(secret, 'rolled', '')")
    clock.advance(minutes=2)
    assert settle(shop, clock)
    assert request(shop, subscription).problem is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            "body = json_set(body, '$.status', 'dreaming')",
            "Stripe reported the status dreaming, which",
        ),
        ("body = json_set(body, '$.items.data', json('[]'))", "Stripe's answer cannot be read"),
    ],
)
def test_what_cannot_be_understood_leaves_the_last_known_state(
    shop: Shop, subscription: str, clock: StandingClock, changed: str, said: str
) -> None:
    at_stripe(shop, changed, subscription)
    assert settle(shop, clock)
    assert (request(shop, subscription).problem or "").startswith(said)
    assert state(shop) is State.ACTIVE


def test_a_request_made_while_a_list_was_read_is_not_met_by_it(
    shop: Shop, subscription: str, clock: StandingClock
) -> None:
    connection: Connection = shop.connection
    began = clock()
    clock.advance(seconds=1)
    ask(shop, subscription, clock)

    def record(began: datetime) -> None:
        with shop.runtime.database.write() as db:
            claim = claim_now(
                db,
                Scope(shop.project_id, connection.mode),
                connection_id=connection.id,
                object_id=subscription,
                began=began,
            )
            assert read_done(db, claim, now=clock())

    record(began)
    assert request(shop, subscription).due_at is not None
    clock.advance(seconds=1)
    record(clock())
    assert request(shop, subscription).due_at is None
