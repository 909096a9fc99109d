"""Subscriptions that were made past Licenzy: kept once each, kept up to date, and adopted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import event as listening
from sqlmodel import delete, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.connections.actions import access
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import OutboundEvent
from licenzy.entitlements.models import Purchase, State
from licenzy.errors import InvalidRequest
from licenzy.projects.models import Project
from licenzy.projects.scope import Scope
from licenzy.reconciliation.actions import reconcile
from licenzy.reconciliation.walk import Report, Walk
from licenzy.setup.fact_collector import project_facts
from licenzy.stripe_events.models import EventStatus, UntrackedCheckout
from licenzy.stripe_events.receive import read_payload, receive
from licenzy.stripe_events.replay import replay_purchases
from licenzy.stripe_events.untracked_queries import PurchaseKind, Shown, are_waiting, untracked_page
from licenzy.subjects.actions import add_customer
from licenzy.subjects.models import Subject
from licenzy.workspace.models import AuditEntry
from tests.checkout.conftest import Shop
from tests.stripe_events.test_adoption import (
    buy_past_licenzy,
    deliver_events,
    granted,
    kept,
    settle,
    take,
)
from tests.support.cast import make_subject
from tests.support.clock import StandingClock
from tests.support.endpoints import make_endpoint
from tests.support.sizes import sizes

Sell = Callable[..., Product]


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    """The sandbox lives in real time."""
    clock.now = datetime.now(UTC)


def subscribe(shop: Shop, *price_ids: str, customer: str | None = None, **params: Any) -> Any:
    """A subscription that somebody makes at Stripe, paid by card where nothing else is said."""
    if customer is None:
        customer = shop.stripe.v1.customers.create({"email": "buyer@example.com"}).id
    items = [{"price": each} for each in price_ids]
    card = {"default_payment_method": "pm_card_visa"}
    asked: Any = {"customer": customer, "items": items, **card, **params}
    return shop.stripe.v1.subscriptions.create(asked)


def price_of(product: Product) -> str:
    return product.prices[0].stripe_price_id


def walk(shop: Shop, clock: StandingClock) -> Any:
    clock.now = datetime.now(UTC)
    parts = shop.runtime
    report = reconcile(
        parts.database, parts.gateway, parts.secret_box, connection=shop.connection, clock=clock
    )
    assert (report.problems, report.failed) == ([], 0)
    return report


def only_walk(shop: Shop, clock: StandingClock) -> None:
    """A walk of which no event was ever received, as of an account that was connected just now."""
    clock.now = datetime.now(UTC)
    parts = shop.runtime
    at = access(parts.gateway, parts.secret_box, shop.connection)
    report = Report(shop.connection.id, "")
    under_way = Walk(parts.database, parts.gateway, parts.secret_box, at, shop.connection, clock, report)
    under_way.subscriptions()
    under_way.settle()
    assert report.problems == []


def act(shop: Shop, action: str, **named: Any) -> None:
    shop._control("POST", "actions", {"action": action, **named})


def states(shop: Shop) -> list[tuple[str, int, State]]:
    return sorted((each.product_code, each.quantity, each.state) for each in granted(shop))


def waiting(shop: Shop, **how: Any) -> list[UntrackedCheckout]:
    with shop.runtime.database.read() as db:
        return list(untracked_page(db, Scope.of(shop.connection), **how).rows)


@pytest.mark.parametrize("by", ["events", "walk"])
def test_one_is_kept_and_counts_once_adopted(shop: Shop, sell: Sell, clock: StandingClock, by: str) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION)
    made = subscribe(shop, price_of(product))
    (deliver_events if by == "events" else only_walk)(shop, clock)
    (row,) = kept(shop)
    assert (row.session_id, row.purchase_key, row.status, row.recurring) == (None, made.id, "active", True)
    assert row.items == [{"price": price_of(product), "quantity": 1, "product": product.id}]
    assert (row.customer, row.email) == (made.customer, "buyer@example.com" if by == "walk" else None)
    assert granted(shop) == []
    take(shop, clock)
    assert states(shop) == [("PRO", 1, State.ACTIVE)]
    (held,) = granted(shop)
    assert held.stripe_subscription_id == made.id
    before = held.model_dump()
    settle(shop, clock)
    walk(shop, clock)
    assert all(not changes for _, changes in replay_purchases(shop.runtime.database, clock=clock))
    assert granted(shop)[0].model_dump() == before
    with shop.runtime.database.read() as db:
        audited = db.exec(select(AuditEntry).where(AuditEntry.action == "subscription.adopt")).one()
    assert (audited.about, audited.actor_user_id) == (made.id, "usr_1")


def test_a_walk_makes_no_purchase_of_what_is_nobodys(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    subscribe(shop, price_of(sell("PRO", Kind.SUBSCRIPTION)))
    only_walk(shop, clock)
    only_walk(shop, clock)
    with shop.runtime.database.read() as db:
        assert db.exec(select(Purchase)).all() == []
    assert len(kept(shop)) == 1


def test_a_checkout_and_its_subscription_are_one_row(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION)
    session_id = buy_past_licenzy(shop, product, client_reference_id="user_7")
    only_walk(shop, clock)
    (row,) = kept(shop)
    assert (row.session_id, row.status) == (None, "active")
    deliver_events(shop, clock)
    (joined,) = kept(shop)
    assert (joined.id, joined.session_id, joined.reference) == (row.id, session_id, "user_7")
    assert (joined.payment_status, joined.status) == ("paid", "active")
    take(shop, clock)
    assert states(shop) == [("PRO", 1, State.ACTIVE)]


@pytest.mark.parametrize("change", ["price", "project"])
def test_its_row_follows_what_changes(shop: Shop, sell: Sell, clock: StandingClock, change: str) -> None:
    """The way back is found by a walk: events of one second that undo each other tell no order."""
    product, other = sell("PRO", Kind.SUBSCRIPTION), sell("GONE", Kind.SUBSCRIPTION)
    with shop.runtime.database.write() as db:
        db.exec(delete(ProductPrice).where(ProductPrice.product_id == other.id))  # type: ignore[arg-type]
    made = subscribe(shop, price_of(product))
    deliver_events(shop, clock)
    item = made["items"].data[0].id
    there: Any = {"items": [{"id": item, "price": price_of(other)}]}
    back: Any = {"items": [{"id": item, "price": price_of(product)}]}
    if change == "project":
        there, back = ({"metadata": {"licenzy_project": each}} for each in ("prj_of_another", ""))
    shop.stripe.v1.subscriptions.update(made.id, there)
    deliver_events(shop, clock)
    assert (waiting(shop), kept(shop)[0].sold_here) == ([], False)
    shop.stripe.v1.subscriptions.update(made.id, back)
    only_walk(shop, clock)
    assert [each.id for each in waiting(shop)] == [kept(shop)[0].id]


def test_one_that_ends_is_not_waited_for(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    made = subscribe(shop, price_of(sell("PRO", Kind.SUBSCRIPTION)))
    deliver_events(shop, clock)
    act(shop, "cancel", subscription=made.id)
    deliver_events(shop, clock)
    assert waiting(shop) == []
    (row,) = waiting(shop, shown=Shown.ENDED)
    assert row.status == "canceled"
    assert row.ended_at is not None


def test_a_price_mapped_later_is_found_by_the_next_walk(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION)
    with shop.runtime.database.write() as db:
        db.exec(delete(ProductPrice))
    subscribe(shop, price_of(product))
    deliver_events(shop, clock)
    walk(shop, clock)
    assert kept(shop) == []
    sell("PRO_AGAIN", Kind.SUBSCRIPTION, stripe_price_id=price_of(product))
    walk(shop, clock)
    assert len(kept(shop)) == 1
    take(shop, clock)
    settle(shop, clock)
    assert states(shop) == [("PRO_AGAIN", 1, State.ACTIVE)]


def test_what_no_product_has_is_left_out(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    product, other = sell("PRO", Kind.SUBSCRIPTION), sell("GONE", Kind.SUBSCRIPTION)
    with shop.runtime.database.write() as db:
        db.exec(delete(ProductPrice).where(ProductPrice.product_id == other.id))  # type: ignore[arg-type]
    made = subscribe(shop, price_of(product), price_of(other))
    only_walk(shop, clock)
    take(shop, clock)
    assert states(shop) == [("PRO", 1, State.ACTIVE)]
    item = next(each.id for each in made["items"].data if each.price.id == price_of(product))
    assert granted(shop)[0].item_key == item


def test_one_without_any_mapped_price_is_refused(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION)
    subscribe(shop, price_of(product))
    only_walk(shop, clock)
    with shop.runtime.database.write() as db:
        db.exec(delete(ProductPrice))
    with pytest.raises(InvalidRequest, match="No product is mapped"):
        take(shop, clock)
    assert granted(shop) == []


# --- the same as an adopted checkout, in whatever state it is ----------------------------------------------


def _nothing(_shop: Shop, _made: Any) -> None:
    pass


def _cancel_at_end(shop: Shop, made: Any) -> None:
    shop.stripe.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})


def _prorate(shop: Shop, made: Any) -> None:
    """Its latest invoice is one of a change, which begins no period."""
    changed: Any = {
        "items": [{"id": made["items"].data[0].id, "quantity": 3}],
        "proration_behavior": "always_invoice",
    }
    shop.stripe.v1.subscriptions.update(made.id, changed)


def _refund(shop: Shop, _made: Any) -> None:
    intent = shop.stripe.v1.payment_intents.list({"limit": 1}).data[0].id
    act(shop, "refund", payment_intent=intent)


def _fail_renewal(shop: Shop, made: Any) -> None:
    act(shop, "fail_renewal", subscription=made.id)


@pytest.mark.parametrize("seen", ["nothing", "everything"])
@pytest.mark.parametrize(
    ("change", "how", "expected"),
    [
        (_nothing, {}, (State.ACTIVE, None)),
        (_nothing, {"trial_period_days": 14}, (State.TRIALING, None)),
        (_cancel_at_end, {}, (State.ACTIVE, None)),
        (_prorate, {}, (State.ACTIVE, None)),
        (_refund, {}, (State.SUSPENDED, "refunded")),
        (_fail_renewal, {}, (State.PAST_DUE, None)),
    ],
    ids=["active", "trialing", "canceling", "prorated", "refunded", "past due"],
)
def test_what_it_grants_does_not_depend_on_events_seen(
    shop: Shop, sell: Sell, clock: StandingClock, seen: str, change: Any, how: Any, expected: Any
) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION, grace_days=5)
    made = subscribe(shop, price_of(product), **how)
    change(shop, made)
    if seen == "everything":
        deliver_events(shop, clock)
    only_walk(shop, clock)
    take(shop, clock)
    (held,) = granted(shop)
    assert (held.state, held.reason) == expected
    assert (held.cancel_at is not None) == (change is _cancel_at_end)
    assert held.quantity == (3 if change is _prorate else 1)
    before = held.model_dump()
    settle(shop, clock)
    assert all(not changes for _, changes in replay_purchases(shop.runtime.database, clock=clock))
    after = granted(shop)[0].model_dump()
    assert {**after, "updated_at": None} == {**before, "updated_at": None}


# --- the setting for known customers, and who may not give access ------------------------------------------


def known(shop: Shop, customer: str, ref: str = "user_7", *, other: bool = False) -> None:
    """Somebody who has bought here before, as this customer of Stripe's, or as it and another one."""
    with shop.runtime.database.write() as db:
        made = make_subject(db, project_id=shop.project_id, subject_ref=ref)
        made.stripe_customer_id = f"cus_{ref}" if other else customer
        db.add(made)
        db.flush()
        if other:
            add_customer(db, Scope.of(shop.connection), subject_id=made.id, stripe_customer_id=customer)


def choose(shop: Shop, adopt: bool = True) -> None:
    with shop.runtime.database.write() as db:
        db.get_one(Project, shop.project_id).adopt_known_customers = adopt


@pytest.mark.parametrize("other", [False, True], ids=["its customer", "another of its customers"])
@pytest.mark.parametrize("by", ["events", "walk"])
def test_a_known_customers_subscription_is_adopted_where_that_is_chosen(
    shop: Shop, sell: Sell, clock: StandingClock, by: str, other: bool
) -> None:
    with shop.runtime.database.write() as db:
        make_endpoint(db, project_id=shop.project_id, secret_box=shop.runtime.secret_box, now=clock())
    choose(shop)
    product = sell("PRO", Kind.SUBSCRIPTION)
    customer = shop.stripe.v1.customers.create({"email": "buyer@example.com"}).id
    known(shop, customer, other=other)
    made = subscribe(shop, price_of(product), customer=customer)
    _prorate(shop, made)
    (deliver_events if by == "events" else only_walk)(shop, clock)
    settle(shop, clock)
    assert states(shop) == [("PRO", 3, State.ACTIVE)]
    (row,) = kept(shop)
    assert (row.adopted_by, row.subject_id) == (None, granted(shop)[0].subject_id)
    with shop.runtime.database.read() as db:
        audited = db.exec(select(AuditEntry).where(AuditEntry.action == "subscription.adopt")).one()
        types = set(db.exec(select(OutboundEvent.type)))
    assert (audited.actor_user_id, audited.about) == (None, made.id)
    assert "entitlement.updated" in types
    assert all(not changes for _, changes in replay_purchases(shop.runtime.database, clock=clock))
    walk(shop, clock)
    assert states(shop) == [("PRO", 3, State.ACTIVE)]


@pytest.mark.parametrize(
    "why", ["not chosen", "nobody", "two", "two as another", "other mode", "other project named"]
)
def test_nobody_elses_is_adopted(shop: Shop, sell: Sell, clock: StandingClock, why: str) -> None:
    choose(shop, why != "not chosen")
    customer = shop.stripe.v1.customers.create({"email": "buyer@example.com"}).id
    if why == "other mode":
        with shop.runtime.database.write() as db:
            made = make_subject(db, project_id=shop.project_id, subject_ref="u", mode=Mode.LIVE)
            made.stripe_customer_id = customer
            db.add(made)
    elif why != "nobody":
        known(shop, customer)
    if why in {"two", "two as another"}:
        known(shop, customer, "user_8", other=why == "two as another")
    metadata = {"licenzy_project": "prj_of_another"} if why == "other project named" else {}
    subscribe(shop, price_of(sell("PRO", Kind.SUBSCRIPTION)), customer=customer, metadata=metadata)
    only_walk(shop, clock)
    deliver_events(shop, clock)
    settle(shop, clock)
    walk(shop, clock)
    assert granted(shop) == []
    assert len(waiting(shop)) == (0 if metadata else 1)


@pytest.mark.parametrize("adopting", [False, True])
@pytest.mark.parametrize("first", ["events", "walk"])
def test_metadata_copied_by_hand_grants_nothing(
    shop: Shop, sell: Sell, clock: StandingClock, adopting: bool, first: str
) -> None:
    """Also not where the project adopts known customers: the customer decides, never what it says."""
    choose(shop, adopting)
    product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    pack = sell("PACK", Kind.USAGE_PACK)
    bought = shop.checkout("k", subject_ref="user_123").get_json()
    httpx.post(bought["checkout_url"], data={"action": "pay", "email": "buyer@example.com"})
    still_open = shop.checkout("k2", subject_ref="user_456").get_json()
    deliver_events(shop, clock)
    settle(shop, clock)
    before = {each.id for each in granted(shop)}
    assert len(before) == 1
    for attempt in (bought["attempt_id"], still_open["attempt_id"]):
        copied = {
            "licenzy_project": shop.project_id,
            "licenzy_attempt": attempt,
            "licenzy_subject_ref": "user_123",
            "licenzy_product_code": "PRO_MONTHLY",
            "subject_ref": "user_123",
        }
        customer = shop.stripe.v1.customers.create({"email": "x@example.com", "metadata": copied}).id
        if attempt == bought["attempt_id"]:
            subscribe(shop, price_of(product), customer=customer, metadata=copied)
        intent: Any = {"metadata": copied}
        buy_past_licenzy(shop, pack, metadata=copied, payment_intent_data=intent)
        buy_past_licenzy(shop, product, metadata=copied, subscription_data=intent)
    for _ in range(2):
        (deliver_events if first == "events" else only_walk)(shop, clock)
        settle(shop, clock)
        walk(shop, clock)
        settle(shop, clock)
    assert {each.id for each in granted(shop)} == before
    with shop.runtime.database.read() as db:
        customers = {each.subject_ref: each.stripe_customer_id for each in db.exec(select(Subject))}
    assert customers.keys() == {"user_123", "user_456"}
    assert customers["user_456"] is None, "what a stranger made does not make them the customer"


# --- at once, in any order, and many -----------------------------------------------------------------------


def test_of_two_operators_at_once_one_adopts(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    subscribe(shop, price_of(sell("PRO", Kind.SUBSCRIPTION)))
    only_walk(shop, clock)

    def one(number: int) -> str:
        try:
            return "adopted" if take(shop, clock, f"user_{number}") else "again"
        except InvalidRequest:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(one, range(2))) == ["adopted", "refused"]
    with shop.runtime.database.read() as db:
        assert len(db.exec(select(Subject)).all()) == 1
    assert len(granted(shop)) == 1


def test_events_that_come_while_it_is_adopted(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    made = subscribe(shop, price_of(sell("PRO", Kind.SUBSCRIPTION)))
    only_walk(shop, clock)
    _prorate(shop, made)
    with ThreadPoolExecutor(2) as pool:
        told = pool.submit(deliver_events, shop, clock)
        adopted = pool.submit(take, shop, clock)
        assert (told.result(), bool(adopted.result())) == (None, True)
    settle(shop, clock)
    assert states(shop) == [("PRO", 3, State.ACTIVE)]


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_events_ends_at_what_stripe_says(
    shop: Shop, sell: Sell, clock: StandingClock, seed: int
) -> None:
    chance = random.Random(seed)
    product, dear = sell("PRO", Kind.SUBSCRIPTION), sell("MAX", Kind.SUBSCRIPTION)
    made = subscribe(shop, price_of(product))
    item = made["items"].data[0].id
    changes: list[Callable[[], object]] = [
        lambda: act(shop, "renew", subscription=made.id),
        lambda: shop.stripe.v1.subscriptions.update(
            made.id, {"items": [{"id": item, "price": price_of(dear)}]}
        ),
        lambda: _prorate(shop, made),
    ]
    for change in chance.sample(changes, chance.randint(0, 3)):
        change()
    if chance.random() < 0.5:
        act(shop, "fail_renewal", subscription=made.id)
    parts = shop.runtime
    at = access(parts.gateway, parts.secret_box, shop.connection)
    events = [event for page in parts.gateway.events(at, created_from=0) for event in page]
    chance.shuffle(events)
    cut = chance.randint(0, len(events))
    receive_all(shop, clock, events[:cut])
    only_walk(shop, clock)
    take(shop, clock)
    receive_all(shop, clock, events[cut:] + events[: cut // 2])
    settle(shop, clock)
    truth = shop.stripe.v1.subscriptions.retrieve(made.id)
    (held,) = granted(shop)
    assert held.state.value == truth.status
    assert held.stripe_price_id == truth["items"].data[0].price.id
    before = held.model_dump()
    assert all(not changed for _, changed in replay_purchases(shop.runtime.database, clock=clock))
    assert granted(shop)[0].model_dump() == before


def receive_all(shop: Shop, clock: StandingClock, events: list[Any]) -> None:
    clock.now = datetime.now(UTC)
    for raw in events:
        body = json.dumps(raw).encode()
        with shop.runtime.database.write() as db:
            event = read_payload(body)
            received = receive(db, connection=shop.connection, event=event, body=body, now=clock())
        assert received.status in {EventStatus.APPLIED, EventStatus.IGNORED}, received.note


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN", "SET LOCAL")):
            seen.append(statement)

    listening.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        listening.remove(database.engine, "before_cursor_execute", note)


@sizes("count", sqlite=(10_000,), postgres=(1_000,))
def test_a_walk_over_many_costs_a_few_statements_a_page(
    shop: Shop, sell: Sell, clock: StandingClock, count: int
) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION)
    order = {"count": count, "prices": [price_of(product)], "status": "active"}
    answer = httpx.post(
        f"{shop.sandbox.url}/_sandbox/accounts/{shop.account}/subscriptions",
        json=order,
        headers={"Authorization": f"Bearer {shop.sandbox.control_token}"},
        timeout=600,
    )
    assert answer.status_code < 300, answer.text
    for most in (7, 6):  # Nothing is written the second time.
        with counted(shop.runtime.database) as seen:
            only_walk(shop, clock)
        assert len(seen) <= most * count // 100 + 20, f"{len(seen)} statements"
    assert len(kept(shop)) == count
    with shop.runtime.database.read() as db:
        assert db.exec(select(Purchase)).all() == []
        facts = project_facts(
            db,
            shop.runtime.secret_box,
            project_id=shop.project_id,
            base_url="https://x.example",
            now=clock(),
        )
    assert facts.test.traffic.outside.count == count
    assert (facts.test.traffic.untracked.checkouts, facts.test.traffic.untracked.subscriptions) == (0, count)
    assert len(waiting(shop, kind=PurchaseKind.ONE_TIME)) == 0
    some = kept(shop)[count // 2]
    for search in (some.purchase_key, str(some.customer)):
        assert [each.id for each in waiting(shop, search=search)] == [some.id]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_list_is_read_by_its_index(shop: Shop) -> None:
    """On Postgres it depends on the rows there."""
    scope = Scope.of(shop.connection)
    statement = select(UntrackedCheckout.id).where(*are_waiting(scope))
    with shop.runtime.database.read() as db:
        compiled = statement.compile(db.get_bind(), compile_kwargs={"literal_binds": True})
        plan = str(db.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all())
    assert "ix_untracked_checkouts_waiting" in plan
