"""The price that a product's form keeps in a hidden field."""

from __future__ import annotations

import pytest

from licenzy.portal.products.offer import SeenPrice


@pytest.mark.parametrize(
    "text",
    ["", "price_1", "price_2|5|usd||", "price_1|x|usd||", "price_1|5|<b>||", "price_1|5|usd|decade|1"],
)
def test_a_price_that_the_form_did_not_write_is_read_again(text: str) -> None:
    assert SeenPrice.from_text(text, price_id="price_1") is None


def test_a_price_is_read_back_as_it_was_written() -> None:
    for price in (
        SeenPrice("gold|old", None, "usd", None, None),
        SeenPrice("price_1", 0, "jpy", "year", 2),
    ):
        assert SeenPrice.from_text(price.as_text(), price_id=price.stripe_price_id) == price
