"""What an event costs, in statements: a new one shows here before it shows in a bench."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event as listening

from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.entitlements.fixtures_purchases import MONTH, Sale, Storefront
from tests.support.cast import Cast, make_connection
from tests.support.clock import START
from tests.support.purchases import event

_OF_THE_TRANSACTION = ("PRAGMA", "BEGIN", "SET LOCAL")


class CountingStorefront(Storefront):
    """Counts the statements of each receipt, from the connection that it is for to the last one written."""

    counted: int

    def deliver(self, value: dict[str, Any]) -> StripeEvent:
        with statements(self.database) as seen:
            client, self.client = self.client, _Posted(self.client, seen)  # type: ignore[assignment]
            try:
                row = super().deliver(value)
            finally:
                self.counted, self.client = self.client.counted, client  # type: ignore[attr-defined]
        return row


class _Posted:
    """A client whose answer ends the counting: what the test itself reads afterwards is not counted."""

    def __init__(self, client: Any, seen: list[str]) -> None:
        self._client, self._seen = client, seen
        self.counted = 0

    def post(self, *args: Any, **named: Any) -> Any:
        answer = self._client.post(*args, **named)
        self.counted = len(self._seen)
        return answer


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(_OF_THE_TRANSACTION):
            seen.append(statement)

    listening.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        listening.remove(database.engine, "before_cursor_execute", note)


@pytest.fixture
def storefront(app: Flask, runtime: Runtime, cast: Cast) -> CountingStorefront:
    with runtime.database.write() as db:
        connection = make_connection(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            proven_at=START,
        )
    return CountingStorefront(app.test_client(), runtime.database, connection)


@pytest.fixture
def subscribed(storefront: CountingStorefront) -> Sale:
    return storefront.sell(storefront.product(Kind.SUBSCRIPTION)).subscribed()


def test_a_renewed_subscription(storefront: CountingStorefront, subscribed: Sale) -> None:
    subscribed.subscription("active", period=2, at=START + MONTH)
    assert storefront.counted <= 10


def test_a_state_that_changes_nothing(storefront: CountingStorefront, subscribed: Sale) -> None:
    subscribed.subscription("active", at=START)
    assert storefront.counted <= 9


def test_the_invoice_of_a_renewal(storefront: CountingStorefront, subscribed: Sale) -> None:
    subscribed.subscription("active", period=2, at=START + MONTH)
    subscribed.shape = "2020-03-02"  # In which an invoice names its payment, so that no other event follows.
    subscribed.invoice("paid", period=2, at=START + MONTH)
    assert storefront.counted <= 11


def test_the_payment_of_a_renewal(storefront: CountingStorefront, subscribed: Sale) -> None:
    subscribed.invoice("paid", period=2, at=START + MONTH)
    assert storefront.counted <= 11


def test_the_first_word_of_a_purchase(storefront: CountingStorefront) -> None:
    storefront.sell(storefront.product(Kind.USAGE_PACK)).session()
    assert storefront.counted <= 14


def test_an_event_that_comes_again(storefront: CountingStorefront, subscribed: Sale) -> None:
    assert storefront.deliver(subscribed.sent[0]).duplicates == 1
    assert storefront.counted <= 3


def test_an_event_that_nothing_depends_on(storefront: CountingStorefront) -> None:
    row = storefront.deliver(event("payout.paid", {"id": "po_1", "object": "payout"}))
    assert row.status is EventStatus.IGNORED
    assert storefront.counted <= 4


def test_a_subscription_of_somebody_else(storefront: CountingStorefront) -> None:
    sale = storefront.sell(storefront.product(Kind.SUBSCRIPTION))
    sale.subscription(metadata={}, event_name="created")
    assert sale.subscription(metadata={}).status is EventStatus.IGNORED
    assert storefront.counted <= 13, "it has a product's price, so it is kept"


def test_a_subscription_at_a_price_of_nobody(storefront: CountingStorefront) -> None:
    sale = storefront.sell(storefront.product(Kind.SUBSCRIPTION))
    sale.subscription(metadata={}, event_name="created", items={"si": "price_of_nobody"})
    assert sale.subscription(metadata={}).status is EventStatus.IGNORED
    assert storefront.counted <= 10
