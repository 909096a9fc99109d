"""Histories over real HTTP, two deliverers at once, each in an order of its own, on both databases."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from sqlmodel import Session, col, select

from licenzy.catalog.models import Kind
from licenzy.catalog.rules import as_sold
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.projected import SETTLED
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.properties.fixtures_projection import GRACE_DAYS, History, in_true_order, live, weigh
from tests.properties.histories.catalog import Catalog, Sold
from tests.properties.histories.life import Life, Names
from tests.properties.test_histories import SEED
from tests.support.cast import WEBHOOK_SECRET, Cast, make_connection, make_product, make_subject
from tests.support.clock import START
from tests.support.purchases import make_attempt, signed
from tests.support.servers import served

KINDS = (Kind.SUBSCRIPTION, Kind.SUBSCRIPTION, Kind.USAGE_PACK, Kind.TIME_PASS)
# These say when a row was first granted, not what it is.
NOT_COMPARED = {"granted_at", "continues"}


@pytest.mark.parametrize("count", [10])
def test_a_few_histories(app: Flask, runtime: Runtime, cast: Cast, count: int) -> None:
    assert_right(app, runtime, cast, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", [250])
def test_many_histories(app: Flask, runtime: Runtime, cast: Cast, count: int) -> None:
    assert_right(app, runtime, cast, count)


def assert_right(app: Flask, runtime: Runtime, cast: Cast, count: int) -> None:
    print(f"seed {SEED}")
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        histories = [make_history(db, connection, f"{SEED}:{number}") for number in range(count)]
    with served(app) as url:
        sent = deliver(f"{url}/v1/webhooks/stripe/{connection.id}", histories)
    with runtime.database.read() as db:
        assert_every_event_once(db, sent)
        for history in histories:
            assert found(db, history) == expected(history)
            assert_attempt(db, history)


def make_history(db: Session, connection: Connection, seed: str) -> History:
    """A history without ties, of a buyer and products of its own."""
    chance = random.Random(seed)
    kind, code = chance.choice(KINDS), seed.replace(":", "_")
    sold: dict[str, Any] = {"project_id": connection.project_id, "kind": kind}
    if kind is Kind.SUBSCRIPTION:
        sold["grace_days"] = GRACE_DAYS
    products = [
        make_product(db, product_code=f"{word}_{code}", **sold)
        for word in (("A", "B", "YEARLY") if kind is Kind.SUBSCRIPTION else ("A",))
    ]
    subject = make_subject(db, project_id=connection.project_id, subject_ref=f"user_{seed}")
    attempt = make_attempt(
        db,
        connection=connection,
        subject=subject,
        product=products[0],
        quantity=1 if kind is Kind.SUBSCRIPTION else chance.randrange(1, 4),
    )
    assert attempt.stripe_checkout_session_id is not None
    prices = tuple(product.prices[0].stripe_price_id for product in products)
    names = Names(
        code, attempt.id, attempt.stripe_checkout_session_id, prices[:2], attempt.quantity, prices[2:]
    )
    mapped: dict[str, Sold] = {
        price: as_sold(product, price_id=price) for product, price in zip(products, prices, strict=True)
    }
    catalog = Catalog(mapped, set(names.yearly))
    return History(attempt.sold, [live(chance, names, attempt.sold, spread=True, catalog=catalog)])


def deliver(address: str, histories: Sequence[History]) -> Counter[str]:
    """Two deliverers send everything, some of it twice; how often each event was sent."""
    sent: Counter[str] = Counter()
    refusals: list[str] = []
    gate, place = threading.Barrier(2), urlsplit(address)

    def work(seed: str) -> None:
        chance = random.Random(seed)
        # Not httpx, which would take a good part of the time.
        with closing(HTTPConnection(place.netloc, timeout=30)) as connection:
            for history in histories:
                (life,) = history.lives
                mine = [*life.events, *(event for event in life.events if chance.random() < 0.2)]
                chance.shuffle(mine)
                gate.wait(60)
                for event in mine:
                    body, headers = signed(event, WEBHOOK_SECRET, at=START)
                    connection.request("POST", place.path, body, headers)
                    answer = connection.getresponse()
                    said = answer.read()
                    sent[event["id"]] += 1
                    if answer.status != 200:
                        refusals.append(f"{answer.status} {said!r}")

    threads = [threading.Thread(target=work, args=(f"{SEED} {name}",)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals == []
    return sent


def assert_every_event_once(db: Session, sent: Counter[str]) -> None:
    rows = db.exec(select(StripeEvent)).all()
    assert {row.event_id: row.duplicates + 1 for row in rows} == sent
    assert {row.status for row in rows} <= {EventStatus.APPLIED, EventStatus.IGNORED}


def assert_attempt(db: Session, history: History) -> None:
    attempt = db.exec(
        select(CheckoutAttempt).where(CheckoutAttempt.id == history.lives[0].names.attempt)
    ).one()
    events = history.lives[0].events
    paid = any(
        event["type"].startswith("checkout.") and event["data"]["object"]["payment_status"] in SETTLED
        for event in events
    )
    # A debit that failed first may be paid later, with any invoice of the subscription.
    paid_later = any(event["type"] == "invoice.paid" for event in events)
    expected = {AttemptStatus.PAID} if paid else {AttemptStatus.FAILED}
    if paid_later:
        expected.add(AttemptStatus.PAID)
    if not paid and not any(_is_failure(event) for event in events):
        # The first invoice is open, whatever else was paid for.
        expected = {AttemptStatus.PROCESSING}
    assert attempt.status in expected, [event["type"] for event in events]


def _is_failure(event: dict[str, Any]) -> bool:
    failed = {"incomplete_expired", "past_due", "unpaid"}
    return event["type"].endswith("payment_failed") or event["data"]["object"].get("status") in failed


def found(db: Session, history: History) -> list[dict[str, Any]]:
    rows = db.exec(
        select(Entitlement)
        .where(Entitlement.attempt_id == history.lives[0].names.attempt)
        .order_by(col(Entitlement.item_key))
    ).all()
    return [{name: _plain(getattr(row, name)) for name in compared(history)} for row in rows]


def expected(history: History) -> list[dict[str, Any]]:
    projected, spans = weigh([in_true_order(life, history) for life in history.lives])
    rows = [{name: each[name] for name in compared(history)} for each in projected[0]]
    for row, (_key, start, end) in zip(rows, spans, strict=False):
        row |= {"starts_at": start, "valid_until": end, "ends_at": end}
    return rows


def compared(history: History) -> list[str]:
    life: Life = history.lives[0]
    projected, _ = weigh([in_true_order(life, history)])
    names = set(projected[0][0]) if projected[0] else set()
    return sorted(names - NOT_COMPARED)


def _plain(value: Any) -> Any:
    return int(value.timestamp()) if isinstance(value, datetime) else value
