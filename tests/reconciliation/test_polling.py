"""Polling: where Stripe cannot reach this machine, what happens in test mode is fetched."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from flask.testing import FlaskClient
from sqlalchemy import event as sql_events
from sqlmodel import func, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.connections import event_polls
from licenzy.connections.actions import disconnect, save_stripe_key
from licenzy.connections.event_polls import CALM, QUICK, poll_now, poll_soon, schedule_polls
from licenzy.connections.models import Connection, EventPoll, Provider
from licenzy.entitlements.models import Entitlement, State
from licenzy.errors import DatabaseUnavailable
from licenzy.projects.scope import Scope
from licenzy.reconciliation import polling
from licenzy.reconciliation.actions import reconcile
from licenzy.reconciliation.models import Reconciliation
from licenzy.reconciliation.polling import LEASE, poll_next
from licenzy.reconciliation.walk import Walk
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_events.models import StripeEvent
from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import find_account
from licenzy.workspace.audit import Actor
from tests.checkout.conftest import Shop
from tests.conftest import Sandbox, make_settings
from tests.support.cast import Cast, make_connection, make_key
from tests.support.clock import StandingClock

Sell = Callable[..., Product]
ACTOR = Actor("user", "tests")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """An installation that takes the sandbox for Stripe itself."""
    made = make_settings(tmp_path, database_url)
    return replace(made, stripe_api_base=made.sandbox_url)


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    """The sandbox lives in real time."""
    clock.now = datetime.now(UTC)


@pytest.fixture
def shop(client: FlaskClient, runtime: Runtime, cast: Cast, sandbox: Sandbox, clock: StandingClock) -> Shop:
    """A shop whose key was pasted, and that has no webhook."""
    opened = httpx.post(
        f"{sandbox.url}/_sandbox/accounts",
        json={"name": "The tests' shop"},
        headers={"Authorization": f"Bearer {sandbox.control_token}"},
    ).json()
    with runtime.database.write() as db:
        token = make_key(db, project_id=cast.project_id)[1]
    connection = paste(runtime, cast.project_id, opened["secret_key"], clock)
    at_stripe = stripe.StripeClient(opened["secret_key"], base_addresses={"api": sandbox.url})
    return Shop(client, runtime, sandbox, opened["account"], at_stripe, connection, cast.project_id, token)


def paste(runtime: Runtime, project_id: str, key: str, clock: StandingClock, **how: Any) -> Connection:
    return save_stripe_key(
        runtime.database,
        runtime.gateway,
        runtime.secret_box,
        Scope(project_id, Mode.TEST),
        pasted=key,
        actor=ACTOR,
        now=clock(),
        **how,
    )


def poll(shop: Shop, clock: StandingClock, *, base_url: str | None = None) -> bool:
    parts = shop.runtime
    return poll_next(
        parts.database,
        parts.gateway,
        parts.secret_box,
        base_url=base_url or parts.settings.base_url,
        clock=clock,
    )


def state(shop: Shop) -> EventPoll:
    with shop.runtime.database.read() as db:
        return db.get_one(EventPoll, shop.connection.id)


def soon(shop: Shop, clock: StandingClock) -> bool:
    """Poll now, whatever the schedule."""
    with shop.runtime.database.write() as db:
        poll_now(db, connection_id=shop.connection.id, now=clock())
    return poll(shop, clock)


def buy(shop: Shop, key: str, **body: Any) -> str:
    told = shop.checkout(key, **body)
    assert told.status_code == 201, told.get_json()
    paid = httpx.post(told.get_json()["checkout_url"], data={"action": "pay", "email": "buyer@example.com"})
    assert paid.status_code == 303, paid.text
    return str(told.get_json()["stripe_checkout_session_id"])


def granted(shop: Shop) -> list[Entitlement]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(Entitlement)))


def kept(shop: Shop) -> list[StripeEvent]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(StripeEvent).order_by(StripeEvent.id)))


def test_a_purchase_is_granted_by_polling_alone(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    assert poll(shop, clock)
    buy(shop, "k")
    assert granted(shop) == []
    assert poll(shop, clock), "the checkout has set the next poll to now"
    assert [row.state for row in granted(shop)] == [State.ACTIVE]
    events = kept(shop)
    assert events
    assert all(event.fetched for event in events)
    with shop.runtime.database.read() as db:
        assert db.get_one(Connection, shop.connection.id).proven_at is None, "nothing was signed"


def test_what_is_known_is_not_counted_as_sent_again(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    poll(shop, clock)
    once = [(event.event_id, event.tries) for event in kept(shop)]
    for _ in range(3):
        clock.advance(seconds=5)
        assert poll(shop, clock)
    assert [(event.event_id, event.tries) for event in kept(shop)] == once
    assert {event.duplicates for event in kept(shop)} == {0}


def test_the_next_poll_is_quick_while_a_checkout_is_open_and_calm_otherwise(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    poll(shop, clock)
    assert state(shop).next_at == clock() + CALM
    assert not poll(shop, clock), "it is not due"
    shop.checkout("k")
    assert state(shop).next_at == clock()
    clock.advance(seconds=20)
    poll(shop, clock)
    assert state(shop).next_at == clock() + QUICK, "a session is open"
    clock.advance(hours=25)
    poll(shop, clock)
    assert state(shop).next_at == clock() + CALM, "it has expired long since"


def test_a_page_that_waits_makes_it_quick_for_a_while(shop: Shop, clock: StandingClock) -> None:
    poll(shop, clock)
    with shop.runtime.database.write() as db:
        poll_soon(db, connection_id=shop.connection.id, now=clock())
    poll(shop, clock)
    assert state(shop).next_at == clock() + QUICK
    clock.advance(seconds=event_polls.WATCHED.total_seconds() + 1)
    poll(shop, clock)
    assert state(shop).next_at == clock() + CALM


@pytest.mark.parametrize("why", ["public", "sandbox", "live", "no key"])
def test_nothing_is_polled_where_events_are_delivered(
    shop: Shop, cast: Cast, clock: StandingClock, why: str
) -> None:
    parts = shop.runtime
    with parts.database.write() as db:
        connection = db.get_one(Connection, shop.connection.id)
        if why == "sandbox":
            connection.provider = Provider.SANDBOX
            schedule_polls(db, connection, anew=False, now=clock())
        if why == "no key":
            disconnect(db, connection.scope, actor=ACTOR, now=clock())
        if why == "live":
            disconnect(db, connection.scope, actor=ACTOR, now=clock())
            live = make_connection(
                db, project_id=cast.project_id, secret_box=parts.secret_box, mode=Mode.LIVE
            )
            schedule_polls(db, live, anew=True, now=clock())
            assert db.get(EventPoll, live.id) is None
    assert not poll(shop, clock, base_url="https://pay.example.com" if why == "public" else None)
    assert state(shop).polled_at is None


def test_a_row_that_is_due_for_nothing_is_put_to_rest(shop: Shop, clock: StandingClock) -> None:
    """As when an older version saved a key meanwhile: it looks once, and never again."""
    with shop.runtime.database.write() as db:
        db.get_one(Connection, shop.connection.id).provider = Provider.SANDBOX
    assert poll(shop, clock)
    assert (state(shop).next_at, state(shop).polled_at) == (None, None)
    assert not poll(shop, clock)


def test_idling_is_one_statement_by_an_index(shop: Shop, clock: StandingClock) -> None:
    poll(shop, clock)
    poll(shop, clock)
    said: list[str] = []
    engine = shop.runtime.database.engine

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    sql_events.listen(engine, "before_cursor_execute", note)
    assert not poll(shop, clock)
    sql_events.remove(engine, "before_cursor_execute", note)
    asked = [each for each in said if "event_polls" in each]
    assert len(asked) == 1
    assert "LIMIT" in asked[0]
    if engine.dialect.name == "sqlite":
        with engine.connect() as db:
            plan = db.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT connection_id FROM event_polls WHERE next_at <= 1 "
                "AND (leased_until IS NULL OR leased_until <= 1) ORDER BY next_at LIMIT 1"
            ).all()
        assert "ix_event_polls_next_at" in str(plan)


def test_a_key_that_may_not_read_events_says_so_and_backs_off(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    issued = httpx.post(
        f"{shop.sandbox.url}/_sandbox/accounts/{shop.account}/restricted_keys",
        json={"permissions": ["rak_checkout_session_write", "rak_accounts_kyc_basic_read"]},
        headers={"Authorization": f"Bearer {shop.sandbox.control_token}"},
    ).json()
    whole = shop.stripe._requestor.api_key
    paste(shop.runtime, shop.project_id, issued["restricted_key"], clock)
    waits = []
    for _ in range(9):
        assert poll(shop, clock)
        row = state(shop)
        assert row.permission == "rak_event_read"
        assert "rak_event_read" in (row.problem or "")
        assert row.next_at is not None
        waits.append((row.next_at - clock()).total_seconds())
        assert not poll(shop, clock)
        with shop.runtime.database.write() as db:
            poll_soon(db, connection_id=shop.connection.id, now=clock())
        assert not poll(shop, clock), "a page that waits does not hurry what fails"
        clock.now = row.next_at
    assert waits[0] < 4
    assert 250 < waits[-1] < 340
    paste(shop.runtime, shop.project_id, whole, clock)
    assert poll(shop, clock), "another key is tried at once"
    assert (state(shop).problem, state(shop).failures) == (None, 0)
    assert len(granted(shop)) == 1


@pytest.mark.parametrize(
    "faults",
    [{"http_500": 9}, {"rate_limit_per_second": 1}, {"hang_seconds": 3, "hang_calls": 3}],
    ids=["500", "429", "timeout"],
)
@pytest.mark.slow
def test_a_bad_day_of_stripes_is_told_and_passes(
    shop: Shop, sell: Sell, clock: StandingClock, faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "POLL_SECONDS", 0.5)
    monkeypatch.setattr("licenzy.stripe_gateway.transport.DEADLINE_SECONDS", 1.5)
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    buy(shop, "k")
    shop.inject_faults(match="GET /v1/events", **faults)
    if "rate_limit_per_second" in faults:
        shop.stripe.v1.events.list()  # The merchant's own call takes this second's turn.
    assert poll(shop, clock)
    row = state(shop)
    assert (row.failures, row.permission, row.leased_until) == (1, None, None)
    assert row.problem
    assert row.next_at is not None
    assert row.next_at > clock()
    assert granted(shop) == []
    shop.behave()
    monkeypatch.undo()
    clock.now = row.next_at + timedelta(seconds=60)
    assert poll(shop, clock)
    assert (state(shop).problem, len(granted(shop))) == (None, 1)


def test_a_poll_that_died_is_made_again(
    shop: Shop, sell: Sell, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("A", "B", "C", "D"):
        sell(code, Kind.USAGE_PACK)
        buy(shop, code, product_code=code)
    feed, fed = Walk.feed, []

    def die(self: Walk, raws: Any) -> None:
        feed(self, raws)
        fed.append(len(raws))
        raise KeyboardInterrupt

    monkeypatch.setattr(polling, "AT_A_TIME", 2)
    monkeypatch.setattr(Walk, "feed", die)
    with pytest.raises(KeyboardInterrupt):
        poll(shop, clock)
    monkeypatch.undo()
    assert fed == [2]
    assert len(kept(shop)) == 2
    assert not poll(shop, clock), "nobody knows that it died"
    clock.advance(seconds=LEASE.lasts.total_seconds())
    assert poll(shop, clock)
    assert sorted(row.product_code for row in granted(shop)) == ["A", "B", "C", "D"]
    assert {event.duplicates for event in kept(shop)} == {0}


def test_a_poll_whose_lease_is_over_records_nothing(
    shop: Shop, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = polling._Poll._list
    later = clock() + timedelta(hours=1)

    def slow(self: Any, *how: Any, **named: Any) -> Any:
        with shop.runtime.database.write() as db:  # Another worker has taken over meanwhile.
            db.get_one(EventPoll, shop.connection.id).leased_until = later
        return listing(self, *how, **named)

    monkeypatch.setattr(polling._Poll, "_list", slow)
    poll(shop, clock)
    assert (state(shop).leased_until, state(shop).polled_at) == (later, None)


def test_one_of_many_workers_polls(shop: Shop, clock: StandingClock) -> None:
    with shop.runtime.database.read() as db:
        due = polling._due(db, now=clock())
    assert due is not None
    together = threading.Barrier(6)
    claimed: list[bool] = []

    def claim() -> None:
        together.wait()
        found = shop.runtime.database.retrying(
            lambda db: polling._claim(db, due, base_url=shop.runtime.settings.base_url, now=clock())
        )
        claimed.append(found is not None)

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(claimed) == [False] * 5 + [True]


def test_a_list_is_read_to_what_was_seen_before(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    """Newer events that were delivered meanwhile do not hide older ones that were not."""
    sell("PACK", Kind.USAGE_PACK)
    poll(shop, clock)
    first = buy(shop, "first", product_code="PACK")
    for number in range(40):
        shop.stripe.v1.products.create({"name": f"Product {number}"})
    assert soon(shop, clock)
    assert [row.stripe_checkout_session_id for row in granted(shop)] == [first]


def test_another_account_is_fetched_from_its_beginning_here(
    shop: Shop, sandbox: Sandbox, clock: StandingClock
) -> None:
    poll(shop, clock)
    assert state(shop).seen_to is not None
    other = httpx.post(
        f"{sandbox.url}/_sandbox/accounts",
        json={"name": "Another shop"},
        headers={"Authorization": f"Bearer {sandbox.control_token}"},
    ).json()
    clock.advance(seconds=5)
    paste(shop.runtime, shop.project_id, other["secret_key"], clock, confirmed=True)
    row = state(shop)
    assert (row.seen_to, row.polled_at, row.next_at) == (clock(), None, clock())


def test_events_older_than_stripe_keeps_are_left_to_a_walk(shop: Shop, clock: StandingClock) -> None:
    with shop.runtime.database.write() as db:
        db.get_one(EventPoll, shop.connection.id).seen_to = clock() - timedelta(days=45)
    assert poll(shop, clock)
    with shop.runtime.database.read() as db:
        assert db.get_one(Reconciliation, shop.connection.id).requested_at == clock()
    assert state(shop).seen_to is not None
    clock.advance(seconds=60)
    with shop.runtime.database.write() as db:
        db.get_one(Reconciliation, shop.connection.id).requested_at = None
    assert poll(shop, clock)
    with shop.runtime.database.read() as db:
        assert db.get_one(Reconciliation, shop.connection.id).requested_at is None, "once is enough"


def test_more_than_a_poll_can_list_is_left_to_a_walk(
    shop: Shop, sell: Sell, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell("PACK", Kind.USAGE_PACK)
    monkeypatch.setattr(polling, "MOST_PAGES", 1)
    for number in range(101):
        shop.stripe.v1.products.create({"name": f"Product {number}"})
    buy(shop, "k", product_code="PACK")
    assert poll(shop, clock)
    row = state(shop)
    assert "sync" in (row.problem or "")
    assert granted(shop) == []
    with shop.runtime.database.read() as db:
        assert db.get_one(Reconciliation, shop.connection.id).requested_at == clock()
    parts = shop.runtime
    clock.advance(seconds=60)
    reconcile(parts.database, parts.gateway, parts.secret_box, connection=shop.connection, clock=clock)
    assert len(granted(shop)) == 1
    clock.advance(seconds=1000)
    assert poll(shop, clock)
    assert state(shop).problem is None


@pytest.mark.slow
def test_thousands_of_events_are_fetched_in_a_few_polls(shop: Shop, sell: Sell, clock: StandingClock) -> None:
    sell("PACK", Kind.USAGE_PACK)
    poll(shop, clock)
    buy(shop, "first", product_code="PACK")
    product = shop.stripe.v1.products.create({"name": "Something else"}).to_dict()
    services = shop.sandbox.app.services
    with services.store.writing() as db:
        account = find_account(db, shop.account)
        assert account is not None
        at_stripe = AccountStore(db, account, services.public_url, now=int(datetime.now(UTC).timestamp()))
        for _ in range(4_900):
            at_stripe.emit("product.updated", json.loads(json.dumps(product, default=str)))
    buy(shop, "last", product_code="PACK")
    rounds = 0
    while len(granted(shop)) < 2:
        rounds += 1
        assert rounds < 50
        assert poll(shop, clock)
    with shop.runtime.database.read() as db:
        assert db.exec(select(func.count()).select_from(StripeEvent)).one() > 4_900
        assert db.exec(select(func.sum(StripeEvent.duplicates))).one() == 0
    assert state(shop).problem is None


def test_what_does_not_fit_into_one_poll_is_gone_on_with_in_the_next(
    shop: Shop, sell: Sell, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("A", "B", "C"):
        sell(code, Kind.USAGE_PACK)
        buy(shop, code, product_code=code)
    monkeypatch.setattr(polling, "AT_A_TIME", 1)
    monkeypatch.setattr(polling._Poll, "_is_over", property(lambda _self: True))
    rounds = 0
    while len(granted(shop)) < 3:
        rounds += 1
        assert rounds < 60
        assert poll(shop, clock)
    assert rounds >= 3
    assert {event.duplicates for event in kept(shop)} == {0}


def test_without_a_database_the_worker_is_told(
    shop: Shop, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable("It is away.")

    monkeypatch.setattr(polling, "known_event_ids", away)
    shop.stripe.v1.products.create({"name": "Something happened"})
    with pytest.raises(DatabaseUnavailable):
        poll(shop, clock)
