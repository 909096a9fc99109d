"""What price lists give, by the pure functions of the product and by the plain model."""

from __future__ import annotations

import random

import pytest

from tests.properties.included import product
from tests.properties.included.agreement import DISORDERS
from tests.properties.included.model import Model
from tests.properties.included.price_lists import PRICE_LISTS, PriceList
from tests.properties.included.purchase import Account, utc
from tests.properties.included.stripe_facts import by, facts_of, item_id


def test_there_are_thirty_price_lists() -> None:
    assert len({each.name for each in PRICE_LISTS}) == 30


@pytest.mark.parametrize("listed", PRICE_LISTS, ids=str)
def test_price_lists_give_the_figures_by_hand_in_any_order_of_facts(listed: PriceList) -> None:
    item, facts = item_id(listed.purchase, "a"), facts_of(listed.purchase, listed.prices)
    chance = random.Random(listed.name)
    for row in listed.rows:
        now, expected = utc(row.at), None
        if row.ends is not None:
            expected = (utc(row.ends), row.units, row.carried)
        for disorder in DISORDERS:
            known = disorder(by(facts, now), chance)
            assert product.unused_at(known, item, listed.unit, now) == expected, (row, disorder.__name__)


@pytest.mark.parametrize("listed", PRICE_LISTS, ids=str)
def test_the_model_has_the_figures_of_price_lists(listed: PriceList) -> None:
    account = Account(listed.prices, (listed.purchase,))
    for row in listed.rows:
        balance = Model(account).balances(listed.unit, utc(row.at)).get(("sub", "a"))
        found = (balance.ends, balance.granted, balance.carried) if balance is not None else None
        assert found == (row.ends and (utc(row.ends), row.units, row.carried)), row
