from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from licenzy.catalog.copying import price_with_same_lookup_key
from licenzy.catalog.models import Kind, ProductPrice
from licenzy.stripe_gateway.client import PriceFacts

PRICE = PriceFacts(
    id="price_live",
    livemode=True,
    active=True,
    product_id="prod_1",
    product_name="Pro",
    product_active=True,
    unit_amount=1200,
    currency="usd",
    interval="month",
    interval_count=1,
    lookup_key="pro",
    nickname=None,
    metered=False,
)
OTHER = replace(PRICE, id="price_other", lookup_key=None)


@pytest.mark.parametrize(
    ("lookup_key", "prices", "matched"),
    [
        ("pro", [OTHER, PRICE], "price_live"),
        (None, [OTHER], None),
        ("pro", [OTHER], None),
        ("pro", [], None),
        ("pro", [replace(PRICE, interval=None, interval_count=None)], None),
        ("pro", [replace(PRICE, metered=True)], None),
        ("pro", [PRICE, replace(PRICE, id="price_same_key")], None),
    ],
)
def test_the_matched_price_has_the_lookup_key_and_fits_and_is_the_only_one(
    lookup_key: str | None, prices: list[PriceFacts], matched: str | None
) -> None:
    fields: dict[str, Any] = {"label": "default", "lookup_key": lookup_key}
    found = price_with_same_lookup_key(Kind.SUBSCRIPTION, ProductPrice(**fields), prices)
    assert (found.id if found else None) == matched
