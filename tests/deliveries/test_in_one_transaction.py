"""However far a change comes before it breaks, it and what is told of it stand or fall together."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event as sql_event

from licenzy.catalog.models import Kind
from licenzy.stripe_events.receive import apply_due_event
from tests.deliveries.test_events import Shop, shop
from tests.entitlements.sale import DAY, Sale
from tests.support.clock import START

__all__ = ["shop"]


class Broken(Exception):
    """The plug was pulled."""


class Plug:
    """Raises at the statement of this number, counted from now on."""

    def __init__(self, shop: Shop, number: int) -> None:
        self._engine = shop.parts.database.engine
        self._left = number
        self.pulled = False

    def __enter__(self) -> Plug:
        sql_event.listen(self._engine, "before_cursor_execute", self._count)
        return self

    def __exit__(self, *_error: object) -> None:
        sql_event.remove(self._engine, "before_cursor_execute", self._count)

    def _count(self, *_statement: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self.pulled = True
            raise Broken


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.USAGE_PACK, Kind.SUBSCRIPTION])
def test_it_is_told_once_wherever_it_breaks(shop: Shop, kind: Kind) -> None:
    shop.listen()
    product = shop.till.product(kind)
    broken = 0
    for number in range(1, 200):
        sale = shop.till.sell(product)
        with Plug(shop, number) as plug, suppress(Broken, AssertionError):
            happens(sale, kind)
        broken += plug.pulled
        # Stripe sends again what was not acknowledged, and the worker takes up what was kept.
        for value in list(sale.told):
            shop.till.deliver(value)
        if len(sale.told) < wanted_events(kind):
            happens(sale, kind)
        later = START + DAY
        while shop.parts.database.retrying(lambda db, at=later: apply_due_event(db, now=at)) is not None:
            pass
        (row,) = sale.held()
        told = Counter(body["type"] for body in shop.told() if body["data"]["attempt_id"] == sale.attempt.id)
        assert row.state.value == "active"
        assert told["purchase.finalized"] == 1, number
        assert told["invoice.payment_succeeded"] == (kind is Kind.SUBSCRIPTION), number
        assert told["entitlement.updated"] >= 1, number
        assert told["entitlement.updated"] == 1 or kind is Kind.SUBSCRIPTION, number
        if not plug.pulled:
            break
    assert broken > 20, "it must break at many places to prove anything"
    assert not plug.pulled, "and come to its end at last"


def happens(sale: Sale, kind: Kind) -> None:
    if kind is Kind.SUBSCRIPTION:
        sale.subscription("active", told_as="created")
        sale.invoice("paid")
    sale.session()


def wanted_events(kind: Kind) -> int:
    """How many events `happens` makes: beside an invoice comes the payment that paid it."""
    return 4 if kind is Kind.SUBSCRIPTION else 1
