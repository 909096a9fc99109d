"""Passes whose end no calendar has: granted as long as dates go, and no event is lost over them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from licenzy.catalog.models import Kind
from licenzy.catalog.rules import DURATION_MAX_SECONDS
from licenzy.checkout.rules import MAX_QUANTITY
from licenzy.entitlements.one_time import LONGEST_SECONDS
from licenzy.kit.clock import LAST_INSTANT, later
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus
from tests.entitlements.fixtures_purchases import GRANTED, Storefront
from tests.support.cast import Cast, make_connection
from tests.support.clock import START


@pytest.fixture
def storefront(app: Flask, runtime: Runtime, cast: Cast) -> Storefront:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    return Storefront(app.test_client(), runtime.database, connection)


@pytest.mark.parametrize("quantity", [1, 60, 79, 1_000, MAX_QUANTITY])
def test_the_longest_passes_that_can_be_bought_are_granted(storefront: Storefront, quantity: int) -> None:
    product = storefront.product(Kind.TIME_PASS, duration_seconds=DURATION_MAX_SECONDS)
    buyer = storefront.subject()
    sales = [storefront.sell(product, subject=buyer, quantity=quantity) for _ in range(3)]
    for number, sale in enumerate(sales):
        assert sale.session(at=START + timedelta(seconds=number)).status is EventStatus.APPLIED
    lasts = timedelta(seconds=min(quantity * DURATION_MAX_SECONDS, LONGEST_SECONDS))
    first, *others = (sale.row() for sale in sales)
    assert (first.starts_at, first.valid_until) == (START, START + lasts)
    assert [row.valid_until for row in others] == [later(START, 2 * lasts), later(START, 3 * lasts)]
    assert sales[0].standing_at(START + timedelta(days=36_499)) == GRANTED


def test_refunding_one_of_them_moves_the_others_up(storefront: Storefront) -> None:
    product = storefront.product(Kind.TIME_PASS, duration_seconds=DURATION_MAX_SECONDS)
    buyer = storefront.subject()
    sales = [storefront.sell(product, subject=buyer, quantity=MAX_QUANTITY) for _ in range(2)]
    for number, sale in enumerate(sales):
        sale.session(at=START + timedelta(seconds=number))
    assert sales[0].refund(at=START + timedelta(days=1)).status is EventStatus.APPLIED
    assert sales[1].row().starts_at <= START + timedelta(days=1)


def test_later_ends_where_dates_end() -> None:
    assert later(START, timedelta(days=1)) == START + timedelta(days=1)
    assert later(START, timedelta.max) == LAST_INSTANT
    assert later(LAST_INSTANT, timedelta(seconds=1)) == LAST_INSTANT
