"""Untracked checkouts: kept when Stripe tells of them, adopted onto a subject, once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlmodel import delete, select

from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.deliveries.models import OutboundEvent
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement, Fact, State
from licenzy.errors import InvalidRequest, NotFound, StripeUnavailable
from licenzy.projects.scope import Scope
from licenzy.reconciliation.actions import reconcile
from licenzy.stripe_events.adoption import adopt
from licenzy.stripe_events.models import EventStatus, StripeEvent, UntrackedCheckout
from licenzy.stripe_events.replay import replay_event, replay_purchases
from licenzy.stripe_events.snapshots import settle_next
from licenzy.subjects.models import Subject
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.checkout.conftest import Shop
from tests.entitlements.rows import row
from tests.support.clock import StandingClock
from tests.support.endpoints import make_endpoint

Sell = Callable[..., Product]


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    """The sandbox lives in real time."""
    clock.now = datetime.now(UTC)


def buy_past_licenzy(shop: Shop, *products: Product, action: str = "pay", **session: Any) -> str:
    """Open a session by Stripe's own API, as code that never heard of Licenzy does, and pay."""
    recurring = products[0].kind is Kind.SUBSCRIPTION
    quantity = session.pop("quantity", 1)
    params: Any = {
        "mode": "subscription" if recurring else "payment",
        "success_url": "https://example.com/done",
        "line_items": [{"price": each.prices[0].stripe_price_id, "quantity": quantity} for each in products],
        **session,
    }
    made = shop.stripe.v1.checkout.sessions.create(params)
    assert made.url is not None
    paid = httpx.post(made.url, data={"action": action, "email": "buyer@example.com"})
    assert paid.status_code == 303, paid.text
    return str(made.id)


def deliver_events(shop: Shop, clock: StandingClock) -> None:
    """Let Stripe's events arrive."""
    clock.now = datetime.now(UTC)
    parts = shop.runtime
    reconcile(
        parts.database, parts.gateway, parts.secret_box, connection=shop.connection, clock=clock, full=False
    )


def settle(shop: Shop, clock: StandingClock) -> None:
    """Let the reads be made that events have asked for."""
    clock.advance(seconds=5)
    parts = shop.runtime
    while settle_next(parts.database, parts.gateway, parts.secret_box, clock=clock):
        pass


def kept(shop: Shop) -> list[UntrackedCheckout]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(UntrackedCheckout).order_by(UntrackedCheckout.id)))


def granted(shop: Shop) -> list[Entitlement]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(Entitlement)))


def operator(shop: Shop, clock: StandingClock) -> OperatorContext:
    return OperatorContext(
        Scope(shop.project_id, shop.connection.mode), Actor("usr_1", None), "found in the books", clock()
    )


def take(shop: Shop, clock: StandingClock, subject_ref: str = "user_7", which: int = 0) -> list[Any]:
    parts = shop.runtime
    return adopt(
        parts.database,
        parts.gateway,
        parts.secret_box,
        operator(shop, clock),
        untracked_id=kept(shop)[which].id,
        subject_ref=subject_ref,
    )


@row("operator.adopt")
def test_a_payment_past_licenzy_is_kept_and_counts_once_adopted(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    session_id = buy_past_licenzy(
        shop,
        sell("PACK", Kind.USAGE_PACK),
        quantity=2,
        client_reference_id="user_7",
        customer_creation="always",
    )
    deliver_events(shop, clock)
    (sold,) = kept(shop)
    assert (sold.session_id, sold.recurring, sold.payment_status) == (session_id, False, "paid")
    assert (sold.reference, sold.email, sold.amount_total) == ("user_7", "buyer@example.com", 2400)
    assert granted(shop) == []
    (change,) = take(shop, clock)
    assert (change["before"], change["after"]["granted_units"]) == (None, 2000)
    (entitlement,) = granted(shop)
    assert (entitlement.state, entitlement.paid_at) == (State.ACTIVE, sold.completed_at)
    (sold,) = kept(shop)
    assert (sold.adopted_by, sold.subject_id) == ("usr_1", entitlement.subject_id)
    with shop.runtime.database.read() as db:
        subject = db.exec(select(Subject)).one()
        audited = db.exec(select(AuditEntry).where(AuditEntry.action == "checkout.adopt")).one()
        notes = db.exec(select(StripeEvent.note).where(StripeEvent.object_id == session_id)).all()
    assert (subject.subject_ref, subject.stripe_customer_id) == ("user_7", sold.customer)
    assert subject.email == "buyer@example.com"
    assert notes == ["The checkout was adopted manually and counts as a purchase."]
    assert (audited.about, audited.actor_user_id) == (session_id, "usr_1")


def test_what_comes_later_follows_the_purchase(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    deliver_events(shop, clock)
    take(shop, clock)
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    shop._control("POST", "actions", {"action": "refund", "payment_intent": intent})
    deliver_events(shop, clock)
    (entitlement,) = granted(shop)
    assert (entitlement.state, entitlement.reason) == (State.CANCELED, "refunded")


def test_what_came_before_counts_too(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    shop._control("POST", "actions", {"action": "refund", "payment_intent": intent})
    deliver_events(shop, clock)
    take(shop, clock)
    (entitlement,) = granted(shop)
    assert (entitlement.state, entitlement.reason) == (State.CANCELED, "refunded")


def test_a_subscription_past_licenzy(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    buy_past_licenzy(shop, sell("PRO", Kind.SUBSCRIPTION))
    deliver_events(shop, clock)
    (sold,) = kept(shop)
    assert sold.recurring
    assert sold.purchase_key.startswith("sub_")
    take(shop, clock)
    (entitlement,) = granted(shop)
    assert (entitlement.state, entitlement.stripe_subscription_id) == (State.ACTIVE, sold.purchase_key)
    shop._control("POST", "actions", {"action": "cancel", "subscription": sold.purchase_key})
    deliver_events(shop, clock)
    settle(shop, clock)  # What happened in the second of the reading is settled by the next one.
    assert granted(shop)[0].state is State.CANCELED
    with shop.runtime.database.read() as db:
        last = db.exec(select(StripeEvent).where(StripeEvent.type == "customer.subscription.deleted")).one()
    assert last.status is EventStatus.APPLIED


def test_a_price_is_mapped_first(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION)
    price_id = product.prices[0].stripe_price_id
    with shop.runtime.database.write() as db:
        db.exec(delete(ProductPrice))
    buy_past_licenzy(shop, product)
    deliver_events(shop, clock)
    with pytest.raises(InvalidRequest, match=f"No product is mapped to {price_id}") as refused:
        take(shop, clock)
    assert "Products page" in (refused.value.hint or "")
    assert (granted(shop), kept(shop)[0].adopted_at) == ([], None)
    sell("PRO_AGAIN", Kind.SUBSCRIPTION, stripe_price_id=price_id)
    take(shop, clock)
    assert granted(shop)[0].state is State.ACTIVE


def test_a_product_of_a_kind_that_cannot_be(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    bought = sell("PACK", Kind.USAGE_PACK)
    buy_past_licenzy(shop, bought)
    deliver_events(shop, clock)
    with shop.runtime.database.write() as db:
        bought.kind = Kind.SUBSCRIPTION
        db.add(bought)
    with pytest.raises(InvalidRequest, match="PACK is a subscription, which this payment cannot grant"):
        take(shop, clock)


@pytest.mark.parametrize("kind", [Kind.USAGE_PACK, Kind.SUBSCRIPTION])
def test_several_products_are_adopted_together(
    shop: Shop, sell: Sell, clock: StandingClock, kind: Kind
) -> None:
    buy_past_licenzy(shop, sell("A", kind), sell("B", kind), quantity=2)
    deliver_events(shop, clock)
    assert len(take(shop, clock)) == 2
    assert {(each.product_code, each.quantity) for each in granted(shop)} == {("A", 2), ("B", 2)}
    before = {each.id: each.model_dump() for each in granted(shop)}
    settle(shop, clock)
    list(replay_purchases(shop.runtime.database, clock=clock))
    assert {each.id: each.model_dump() for each in granted(shop)} == before


def test_all_products_must_be_known(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    known, unknown = sell("A", Kind.USAGE_PACK), sell("B", Kind.USAGE_PACK)
    buy_past_licenzy(shop, known, unknown)
    deliver_events(shop, clock)
    with shop.runtime.database.write() as db:
        db.exec(delete(ProductPrice).where(ProductPrice.product_id == unknown.id))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="No product is mapped"):
        take(shop, clock)
    assert granted(shop) == []


def test_adopting_again_changes_nothing_and_nobody_else_gets_it(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    deliver_events(shop, clock)
    assert len(take(shop, clock)) == 1
    before = [sold.model_dump() for sold in granted(shop)]
    assert take(shop, clock) == []
    with pytest.raises(InvalidRequest) as refused:
        take(shop, clock, "user_8")
    assert refused.value.fields == {"subject_ref": "it already belongs to user_7"}
    assert [sold.model_dump() for sold in granted(shop)] == before
    with shop.runtime.database.read() as db:
        assert len(db.exec(select(Fact).where(Fact.kind == "operator")).all()) == 1
        assert [subject.subject_ref for subject in db.exec(select(Subject))] == ["user_7"]


def test_of_several_operators_at_once_one_adopts(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK), quantity=3)
    deliver_events(shop, clock)

    def one(number: int) -> str:
        while True:
            try:
                return "adopted" if take(shop, clock, f"user_{number % 2}") else "again"
            except InvalidRequest:
                return "refused"
            except StripeUnavailable:  # A process waits for so many answers of Stripe's at a time only.
                time.sleep(0.05)

    with ThreadPoolExecutor(6) as pool:
        outcomes = sorted(pool.map(one, range(6)))
    assert outcomes == ["adopted", "again", "again", "refused", "refused", "refused"]
    (entitlement,) = granted(shop)
    assert entitlement.granted_units == 3000
    with shop.runtime.database.read() as db:
        assert len(db.exec(select(Fact).where(Fact.kind == "operator")).all()) == 1
        assert len(db.exec(select(Subject)).all()) == 1


def test_money_that_comes_later_grants_later(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    session_id = buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK), action="pay_later")
    deliver_events(shop, clock)
    assert kept(shop)[0].payment_status == "unpaid"
    take(shop, clock)
    assert granted(shop) == []
    shop._control("POST", "actions", {"action": "settle_session", "session": session_id})
    deliver_events(shop, clock)
    assert granted(shop)[0].granted_units == 1000


def test_an_unpaid_one_is_brought_up_to_date(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    session_id = buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK), action="pay_later")
    deliver_events(shop, clock)
    shop._control("POST", "actions", {"action": "settle_session", "session": session_id})
    deliver_events(shop, clock)
    assert [sold.payment_status for sold in kept(shop)] == ["paid"]


@pytest.mark.parametrize(
    ("metadata", "count"),
    [({}, 1), ({"licenzy_project": "prj_of_another"}, 0), ({"licenzy_attempt": "x"}, 1)],
)
def test_what_another_project_sold_is_not_ours_to_adopt(
    shop: Shop, sell: Sell, clock: StandingClock, metadata: dict[str, str], count: int
) -> None:
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK), metadata=metadata)
    deliver_events(shop, clock)
    assert len(kept(shop)) == count


@row("operator.adopt", "checkout.copied")
@pytest.mark.parametrize("kind", [Kind.USAGE_PACK, Kind.SUBSCRIPTION])
def test_a_checkout_with_the_metadata_of_an_attempt_is_adopted_as_any_other(
    shop: Shop, sell: Sell, clock: StandingClock, kind: Kind
) -> None:
    product = sell("PRO_MONTHLY", kind)
    attempt = shop.checkout().get_json()["attempt_id"]
    metadata = {"metadata": {"licenzy_attempt": attempt}}
    data = "subscription_data" if kind is Kind.SUBSCRIPTION else "payment_intent_data"
    copied: Any = {**metadata, data: metadata}
    buy_past_licenzy(shop, product, **copied)
    deliver_events(shop, clock)
    settle(shop, clock)
    assert (granted(shop), len(kept(shop))) == ([], 1)
    take(shop, clock)
    deliver_events(shop, clock)
    settle(shop, clock)
    (held,) = granted(shop)
    assert (held.state, held.attempt_id) == (State.ACTIVE, None)


def test_what_licenzy_sold_is_no_untracked_checkout(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PACK", Kind.USAGE_PACK)
    opened = shop.checkout("k", product_code="PACK").get_json()
    httpx.post(opened["checkout_url"], data={"action": "pay", "email": "buyer@example.com"})
    deliver_events(shop, clock)
    assert len(granted(shop)) == 1
    assert kept(shop) == []


def test_nothing_is_written_when_stripe_cannot_be_asked(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    deliver_events(shop, clock)
    shop.inject_faults(http_500=50, match="GET /v1/checkout/*")
    with pytest.raises(StripeUnavailable):
        take(shop, clock)
    with shop.runtime.database.read() as db:
        assert db.exec(select(Subject)).all() == []
    shop.behave()
    assert len(take(shop, clock)) == 1


def test_a_customer_that_is_known_stays(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    pack = sell("PACK", Kind.USAGE_PACK)
    for _ in range(2):
        buy_past_licenzy(shop, pack, customer_creation="always")
    deliver_events(shop, clock)
    for which in range(2):
        take(shop, clock, which=which)
    with shop.runtime.database.read() as db:
        assert db.exec(select(Subject.stripe_customer_id)).one() == kept(shop)[0].customer


def test_endpoints_are_told_who_adopted_it(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    with shop.runtime.database.write() as db:
        make_endpoint(db, project_id=shop.project_id, secret_box=shop.runtime.secret_box, now=clock())
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    deliver_events(shop, clock)
    take(shop, clock)
    with shop.runtime.database.read() as db:
        bodies = [json.loads(body) for body in db.exec(select(OutboundEvent.body).order_by(OutboundEvent.id))]
    assert sorted(body["type"] for body in bodies) == ["entitlement.updated", "purchase.finalized"]
    assert {(body["source"], body["reason"]) for body in bodies} == {("portal", "checkout_adopted")}
    assert {body["data"]["actor_user_id"] for body in bodies} == {"usr_1"}


def test_a_replay_gives_the_same(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    buy_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    buy_past_licenzy(shop, sell("PRO", Kind.SUBSCRIPTION))
    deliver_events(shop, clock)
    for which in range(2):
        take(shop, clock, which=which)
    before = sorted(str(sold.model_dump()) for sold in granted(shop))
    assert len(before) == 2
    database = shop.runtime.database
    assert [changes for _key, changes in replay_purchases(database, clock=clock)] == [[], []]
    with database.read() as db:
        events = db.exec(select(StripeEvent.event_id)).all()
    for event_id in events:
        replay_event(
            database,
            Scope.of(shop.connection),
            event_id=event_id,
            clock=clock,
        )
    assert sorted(str(sold.model_dump()) for sold in granted(shop)) == before
    assert len(kept(shop)) == 2


def test_what_is_not_there_is_not_found(shop: Shop, clock: StandingClock) -> None:
    parts = shop.runtime
    with pytest.raises(NotFound):
        adopt(
            parts.database,
            parts.gateway,
            parts.secret_box,
            operator(shop, clock),
            untracked_id="unt_x",
            subject_ref="u",
        )
