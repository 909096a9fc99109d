"""Settling reads that fail: the state stands, the reason is kept, what can be mended is retried."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlmodel import col, select

from licenzy.catalog.models import Kind, Product
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.entitlements.models import Entitlement, State
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import EventStatus, SettlingRead, StripeEvent
from licenzy.stripe_events.receive import receive
from licenzy.stripe_events.settling import claim_now, read_done, request_read
from licenzy.stripe_events.snapshots import settle_next
from licenzy.stripe_gateway.shapes import read_event
from tests.checkout.conftest import Shop
from tests.reconciliation.test_reconcile import buy, walk
from tests.support.clock import StandingClock
from tests.support.purchases import event

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


def stripe_says(shop: Shop, subscription: str, status: str, *, at: datetime, clock: StandingClock) -> None:
    """An event of the subscription, created `at` that instant and received now."""
    read = json.loads(str(shop.stripe.v1.subscriptions.retrieve(subscription)))
    value = event("customer.subscription.updated", {**read, "status": status}, at=at)
    body = json.dumps(value).encode()
    shop.runtime.database.retrying(
        lambda db: receive(db, connection=shop.connection, event=read_event(value), body=body, now=clock())
    )


def read_again(shop: Shop, subscription: str, clock: StandingClock) -> None:
    ask(shop, subscription, clock)
    clock.advance(seconds=5)
    assert settle(shop, clock)


@pytest.mark.parametrize("days", [-1, 1], ids=["a day slow", "a day fast"])
def test_a_read_is_dated_by_stripe_whatever_the_time_is_here(
    shop: Shop, subscription: str, clock: StandingClock, days: int
) -> None:
    clock.advance(days=days)
    read_again(shop, subscription, clock)
    there = datetime.now(UTC)
    stripe_says(shop, subscription, "paused", at=there - timedelta(minutes=10), clock=clock)
    assert state(shop) is State.ACTIVE, "an event from before the read"
    stripe_says(shop, subscription, "paused", at=there + timedelta(minutes=10), clock=clock)
    assert state(shop) is State.PAUSED, "an event from after the read"


def test_a_read_after_the_clock_of_the_account_was_moved_is_dated_by_it(
    shop: Shop, subscription: str, clock: StandingClock
) -> None:
    with shop.sandbox.app.services.store.writing() as db:
        db.execute("UPDATE accounts SET clock_offset = ? WHERE id = ?", (730 * 86_400, shop.account))
    read_again(shop, subscription, clock)
    there = datetime.now(UTC) + timedelta(days=730)
    stripe_says(shop, subscription, "paused", at=there - timedelta(days=300), clock=clock)
    assert state(shop) is State.ACTIVE
    stripe_says(shop, subscription, "paused", at=there + timedelta(minutes=10), clock=clock)
    assert state(shop) is State.PAUSED


def _copied(shop: Shop) -> tuple[str, str]:
    """An attempt that nobody has paid, and a subscription sold elsewhere that names it in metadata."""
    answer = shop.checkout().get_json()
    session = shop.stripe.v1.checkout.sessions.retrieve(answer["stripe_checkout_session_id"])
    metadata = session.metadata.to_dict() if session.metadata is not None else {}
    lines = shop.stripe.v1.checkout.sessions.line_items.list(session.id).data
    assert lines[0].price is not None
    copied = shop.stripe.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": lines[0].price.id, "quantity": 1}],
            "success_url": "https://example.com/done",
            "metadata": metadata,
            "subscription_data": {"metadata": metadata},
        }
    )
    paid = httpx.post(str(copied.url), data={"action": "pay", "email": "buyer@example.com"})
    assert paid.status_code == 303, paid.text
    made = shop.stripe.v1.checkout.sessions.retrieve(copied.id).subscription
    return answer["checkout_url"], str(made)


def test_a_subscription_that_only_names_an_attempt_is_taken_back_once_stripe_is_asked(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    checkout_url, copy = _copied(shop)
    stripe_says(shop, copy, "trialing", at=clock(), clock=clock)
    with shop.runtime.database.read() as db:
        assert db.exec(select(Entitlement.purchase_key)).all() == [copy], "until its session is known"
    clock.advance(seconds=5)
    assert settle(shop, clock)
    stripe_says(shop, copy, "trialing", at=clock(), clock=clock)
    with shop.runtime.database.read() as db:
        assert db.exec(select(Entitlement)).all() == []
        ignored = select(StripeEvent.status).order_by(col(StripeEvent.id).desc())
        assert db.exec(ignored).first() is EventStatus.IGNORED
    # The attempt itself can still be paid.
    assert httpx.post(checkout_url, data={"action": "pay", "email": "buyer@example.com"}).status_code == 303
    walk(shop, clock)
    with shop.runtime.database.read() as db:
        (own,) = db.exec(select(Entitlement.purchase_key)).all()
    assert own != copy


def test_a_subscription_whose_session_was_not_reported_is_found_to_be_the_attempts(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    session = buy(shop, "k")
    made = str(shop.stripe.v1.checkout.sessions.retrieve(session).subscription)
    stripe_says(shop, made, "active", at=clock(), clock=clock)
    clock.advance(seconds=5)
    assert settle(shop, clock)
    with shop.runtime.database.read() as db:
        held = db.exec(select(Entitlement)).one()
        attempt = db.exec(select(CheckoutAttempt)).one()
    assert (held.purchase_key, held.stripe_checkout_session_id) == (made, session)
    assert (attempt.status, attempt.stripe_subscription_id) == (AttemptStatus.PAID, made)
