"""The same purchase's Stripe events arriving concurrently and in every sequence; refunds too."""

from __future__ import annotations

import itertools
import threading
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
from tests.entitlements.fixtures_purchases import APPLIED, GRANTED, MONTH, Sale, Storefront
from tests.support.cast import Cast, make_connection
from tests.support.clock import START
from tests.support.threads import join, run_in_overlapping_transactions


def purchase_behind(db: Session, scope: Scope, *, refs: list[str]) -> str | None:
    """The purchase that any of these payments belongs to, by a read of its own."""
    key: str | None = db.connection().execute(key_behind(scope.project_id, scope.mode, refs)).scalar()
    return key


@pytest.fixture
def storefront(app: Flask, runtime: Runtime, cast: Cast) -> Storefront:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    return Storefront(app.test_client(), runtime.database, connection)


def deliver_concurrently(app: Flask, sale: Sale, *sequences: Iterable[dict[str, Any]]) -> None:
    """Deliver each sequence of events from a thread of its own."""
    barrier = threading.Barrier(len(sequences))
    errors: list[str] = []

    def deliver(values: list[dict[str, Any]]) -> None:
        storefront = Storefront(app.test_client(), sale.storefront.database, sale.storefront.connection)
        barrier.wait(30)
        for value in values:
            try:
                storefront.deliver(value)
            except Exception as error:
                errors.append(repr(error))

    threads = [threading.Thread(target=deliver, args=(list(sequence),)) for sequence in sequences]
    for thread in threads:
        thread.start()
    join(*threads, seconds=60)
    assert errors == []


def events_of(sale: Sale, *steps: Callable[[Sale], object]) -> list[dict[str, Any]]:
    """The events these steps send, recorded instead of delivered."""
    with sale.storefront.record() as events:
        for step in steps:
            step(sale)
    return events


def test_a_subscriptions_first_events_in_every_sequence(app: Flask, storefront: Storefront) -> None:
    product = storefront.product(Kind.SUBSCRIPTION)
    for permutation in itertools.permutations(range(4)):
        sale = storefront.sell(product)
        # The invoice's second event, invoice_payment.paid, names a payment, which only a refund needs.
        events = events_of(
            sale,
            lambda s: s.session(),
            lambda s: s.subscription("incomplete", event_name="created"),
            lambda s: s.subscription("active", previous={"status": "incomplete"}),
            lambda s: s.invoice("paid"),
        )[:4]
        sequence = [events[i] for i in permutation]
        deliver_concurrently(app, sale, sequence, sequence[::-1])
        row = sale.row()
        assert (row.state, row.valid_until) == (State.ACTIVE, START + MONTH), permutation
        assert sale.standing_at(START) == GRANTED


@pytest.mark.parametrize("kind", [Kind.TIME_PASS, Kind.USAGE_PACK])
def test_a_purchase_and_its_refund_concurrently(app: Flask, storefront: Storefront, kind: Kind) -> None:
    product = storefront.product(kind)
    for _ in range(10):
        sale = storefront.sell(product)
        purchase, refund = events_of(sale, lambda s: s.session(), lambda s: s.refund())
        deliver_concurrently(app, sale, [purchase], [refund])
        # A full refund cancels a one-time purchase.
        assert sale.standing_at(START) == ("canceled", False, "refunded")


def test_a_subscription_and_its_refund_concurrently(app: Flask, storefront: Storefront) -> None:
    product = storefront.product(Kind.SUBSCRIPTION)
    for _ in range(10):
        sale = storefront.sell(product)
        events = events_of(
            sale,
            lambda s: s.session(),
            lambda s: s.subscription(event_name="created"),
            lambda s: s.invoice("paid"),
            lambda s: s.refund(),
        )
        deliver_concurrently(app, sale, events, events[::-1])
        # A refund suspends a subscription, which the API shows as past_due.
        assert sale.standing_at(START) == ("past_due", False, "refunded")


def record_refund(db: Session, scope: Scope, *, source_id: str, purchase_key: str | None) -> None:
    record_fact(
        db,
        scope,
        source=FactSource.EVENT,
        source_id=source_id,
        kind="refund",
        object_id="re_1",
        purchase_key=purchase_key,
        waiting_for=None if purchase_key else "pi_1",
        occurred_at=START,
        data={"payment_intent": "pi_1"},
        now=START,
    )


@pytest.mark.parametrize("waiting_first", [True, False])
def test_a_fact_and_its_purchase_recorded_in_overlapping_transactions(
    database: Database, cast: Cast, waiting_first: bool
) -> None:
    """Neither transaction sees the other's row before its commit; the second must wait for the first."""
    scope = Scope(cast.project_id, Mode.TEST)

    def refund(db: Session) -> None:
        key = None
        if not await_purchase(db, scope, ref="pi_1"):
            key = purchase_behind(db, scope, refs=["pi_1"])
        record_refund(db, scope, source_id="evt_1", purchase_key=key)

    def purchase(db: Session) -> None:
        link_payments(db, scope, refs=["pi_1"], purchase_key="cs_1")

    first, second = (refund, purchase) if waiting_first else (purchase, refund)
    run_in_overlapping_transactions(database, first, second)
    with database.read() as db:
        assert [fact.purchase_key for fact in db.exec(select(Fact)).all()] == ["cs_1"]
        assert purchase_behind(db, scope, refs=["pi_1"]) == "cs_1"


def test_a_second_waiting_fact_is_not_missed(database: Database, cast: Cast) -> None:
    """The payment is noted already, so only the lock on its row makes the purchase wait for the fact."""
    scope = Scope(cast.project_id, Mode.TEST)
    with database.write() as db:
        assert await_purchase(db, scope, ref="pi_1")

    def second_refund(db: Session) -> None:
        assert not await_purchase(db, scope, ref="pi_1")
        assert purchase_behind(db, scope, refs=["pi_1"]) is None
        record_refund(db, scope, source_id="evt_2", purchase_key=None)

    def purchase(db: Session) -> None:
        link_payments(db, scope, refs=["pi_1"], purchase_key="cs_1")

    run_in_overlapping_transactions(database, second_refund, purchase)
    with database.read() as db:
        assert [fact.purchase_key for fact in db.exec(select(Fact)).all()] == ["cs_1"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_linking_a_known_payment_takes_no_lock(
    database: Database, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = Scope(cast.project_id, Mode.TEST)
    with database.write() as db:
        link_payments(db, scope, refs=["pi_1"], purchase_key="cs_1")
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.3)
    with database.write() as holder:
        assert not await_purchase(holder, scope, ref="pi_1")
        # The holder will lock the purchase next; waiting here would deadlock.
        with database.write() as db:
            link_payments(db, scope, refs=["pi_1", "ch_1"], purchase_key="cs_1")
    with database.read() as db:
        assert purchase_behind(db, scope, refs=["ch_1"]) == "cs_1"


def test_a_waiting_fact_does_not_count_as_a_purchase(storefront: Storefront) -> None:
    sale = storefront.sell(storefront.product(Kind.USAGE_PACK))
    assert sale.refund().status is APPLIED
    assert sale.refund(number=2).note == "Stored until the purchase of its payment is known."
    assert sale.entitlements() == []
