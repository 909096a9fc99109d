"""Two deliverers at once, on both databases: every order of a subscription's first events, and money back."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Flask
from sqlmodel import Session, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.actions import record_fact
from licenzy.entitlements.links import await_purchase, key_behind, link_payments
from licenzy.entitlements.models import Fact, FactSource, State
from licenzy.kit import deadline
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from tests.entitlements.fixtures_purchases import APPLIED, GRANTED, MONTH, SECRET, Sale, Storefront
from tests.support.cast import Cast, make_connection
from tests.support.clock import START


def purchase_behind(db: Session, scope: Scope, *, refs: list[str]) -> str | None:
    """The purchase that any of these payments belongs to, by a read of its own."""
    key: str | None = db.connection().execute(key_behind(scope.project_id, scope.mode, refs)).scalar()
    return key


@pytest.fixture
def storefront(app: Flask, runtime: Runtime, cast: Cast) -> Storefront:
    with runtime.database.write() as db:
        connection = make_connection(
            db, project_id=cast.project_id, secret_box=runtime.secret_box, webhook_secret=SECRET
        )
    return Storefront(app.test_client(), runtime.database, connection)


def at_once(app: Flask, sale: Sale, *orders: Iterable[dict[str, Any]]) -> None:
    """Deliver each of these from a thread of its own."""
    gate, refused = threading.Barrier(len(orders)), []

    def work(values: list[dict[str, Any]]) -> None:
        storefront = Storefront(app.test_client(), sale.storefront.database, sale.storefront.connection)
        gate.wait(30)
        for value in values:
            try:
                assert storefront.deliver(value).status is not None
            except Exception as problem:
                refused.append(repr(problem))

    threads = [threading.Thread(target=work, args=(list(order),)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert refused == []


def events_of(sale: Sale, *steps: Callable[[Sale], object]) -> list[dict[str, Any]]:
    """The events that these steps would tell, undelivered."""
    kept = sale.storefront.deliver
    sale.storefront.deliver = lambda value: None  # type: ignore[method-assign,assignment,return-value]
    for step in steps:
        step(sale)
    sale.storefront.deliver = kept  # type: ignore[method-assign]
    return sale.sent


def test_all_orders_of_a_subscriptions_first_events(app: Flask, storefront: Storefront) -> None:
    product = storefront.product(Kind.SUBSCRIPTION)
    for order in itertools.permutations(range(4)):
        sale = storefront.sell(product)
        told = events_of(
            sale,
            lambda s: s.session(),
            lambda s: s.subscription("incomplete", event_name="created"),
            lambda s: s.subscription("active", previous={"status": "incomplete"}),
            lambda s: s.invoice("paid"),
        )[:4]
        at_once(app, sale, [told[i] for i in order], [told[i] for i in reversed(order)])
        row = sale.row()
        assert (row.state, row.valid_until) == (State.ACTIVE, START + MONTH), order
        assert sale.standing_at(START) == GRANTED


@pytest.mark.parametrize("kind", [Kind.TIME_PASS, Kind.USAGE_PACK])
def test_a_purchase_and_its_refund_at_once(app: Flask, storefront: Storefront, kind: Kind) -> None:
    product = storefront.product(kind)
    for _ in range(10):
        sale = storefront.sell(product)
        bought, refunded = events_of(sale, lambda s: s.session(), lambda s: s.refund())
        at_once(app, sale, [bought], [refunded])
        assert sale.standing_at(START) == ("canceled", False, "refunded")


def test_a_subscription_and_its_refund_at_once(app: Flask, storefront: Storefront) -> None:
    product = storefront.product(Kind.SUBSCRIPTION)
    for _ in range(10):
        sale = storefront.sell(product)
        told = events_of(
            sale,
            lambda s: s.session(),
            lambda s: s.subscription(event_name="created"),
            lambda s: s.invoice("paid"),
            lambda s: s.refund(),
        )
        at_once(app, sale, told, told[::-1])
        assert sale.standing_at(START) == ("past_due", False, "refunded")


@pytest.mark.parametrize("waiting_first", [True, False])
def test_a_fact_and_its_purchase_told_within_each_others_transactions(
    database: Database, cast: Cast, waiting_first: bool
) -> None:
    """Neither transaction sees the other's row before its commit; the second must wait for the first."""
    scope = Scope(cast.project_id, Mode.TEST)
    written = threading.Event()

    def record_refund(pause: float) -> None:
        with database.write() as db:
            key = None
            if not await_purchase(db, scope, ref="pi_1"):
                key = purchase_behind(db, scope, refs=["pi_1"])
            record_fact(
                db,
                scope,
                source=FactSource.EVENT,
                source_id="evt_1",
                kind="refund",
                object_id="re_1",
                purchase_key=key,
                waiting_for=None if key else "pi_1",
                occurred_at=START,
                data={"payment_intent": "pi_1"},
                now=START,
            )
            written.set()
            time.sleep(pause)

    def record_purchase(pause: float) -> None:
        with database.write() as db:
            link_payments(db, scope, refs=["pi_1"], purchase_key="cs_1")
            written.set()
            time.sleep(pause)

    first, second = (record_refund, record_purchase) if waiting_first else (record_purchase, record_refund)
    thread = threading.Thread(target=first, args=(0.4,))
    thread.start()
    assert written.wait(10), "the second begins once the first has written, and before it commits"
    second(0)
    thread.join(30)
    with database.read() as db:
        assert [fact.purchase_key for fact in db.exec(select(Fact)).all()] == ["cs_1"]
        assert purchase_behind(db, scope, refs=["pi_1"]) == "cs_1"


def test_a_second_waiting_fact_is_not_passed_by(database: Database, cast: Cast) -> None:
    """The payment is noted already, so only the lock on its row makes the purchase wait for the fact."""
    scope = Scope(cast.project_id, Mode.TEST)
    with database.write() as db:
        assert await_purchase(db, scope, ref="pi_1")
    waits = threading.Event()

    def record_second_refund() -> None:
        with database.write() as db:
            assert not await_purchase(db, scope, ref="pi_1")
            assert purchase_behind(db, scope, refs=["pi_1"]) is None
            record_fact(
                db,
                scope,
                source=FactSource.EVENT,
                source_id="evt_2",
                kind="refund",
                object_id="re_1",
                purchase_key=None,
                waiting_for="pi_1",
                occurred_at=START,
                data={"payment_intent": "pi_1"},
                now=START,
            )
            waits.set()
            time.sleep(0.4)

    thread = threading.Thread(target=record_second_refund)
    thread.start()
    assert waits.wait(10)
    with database.write() as db:
        link_payments(db, scope, refs=["pi_1"], purchase_key="cs_1")
    thread.join(30)
    with database.read() as db:
        assert [fact.purchase_key for fact in db.exec(select(Fact)).all()] == ["cs_1"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_purchase_does_not_wait_for_who_holds_a_payment_known_to_be_its_own(
    database: Database, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds it has looked the purchase up, and waits for it next: each would wait for the other."""
    scope = Scope(cast.project_id, Mode.TEST)
    with database.write() as db:
        link_payments(db, scope, refs=["pi_1"], purchase_key="cs_1")
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.3)
    with database.write() as holder:
        assert not await_purchase(holder, scope, ref="pi_1")
        with database.write() as db:
            link_payments(db, scope, refs=["pi_1", "ch_1"], purchase_key="cs_1")
    with database.read() as db:
        assert purchase_behind(db, scope, refs=["ch_1"]) == "cs_1"


def test_a_waiting_fact_does_not_count_as_a_purchase(storefront: Storefront) -> None:
    sale = storefront.sell(storefront.product(Kind.USAGE_PACK))
    assert sale.refund().status is APPLIED
    assert sale.refund(number=2).note == "Kept until the purchase of its payment is known."
    assert sale.entitlements() == []
