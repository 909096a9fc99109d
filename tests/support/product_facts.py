"""Products and their prices as alignment's rules see them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from licenzy.alignment.facts import MappedPrice, ProductFacts
from tests.support.clock import START

_OF_PRICES = {field.name for field in fields(MappedPrice)}


def product_facts(**columns: Any) -> ProductFacts:
    """A monthly subscription of $12 in test mode, but for what is given of it or its price."""
    price = MappedPrice(
        stripe_price_id="price_1",
        stripe_product_id="prod_1",
        label="default",
        selling=True,
        livemode=False,
        sellable=True,
        checked_at=START,
        unit_amount=1200,
        currency="usd",
        interval="month",
        interval_count=1,
    )
    product = ProductFacts(
        id="prd_1", product_code="PRO", kind="subscription", created_at=START, prices=(price,)
    )
    return changed(product, **columns)


def changed(product: ProductFacts, **columns: Any) -> ProductFacts:
    """The product with other values of its own, and of its first price."""
    of_price = {name: columns.pop(name) for name in _OF_PRICES & columns.keys()}
    first, *others = product.prices
    return replace(product, prices=(replace(first, **of_price), *others), **columns)
