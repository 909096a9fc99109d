"""Amounts on the sandbox's pages: as the portal writes them, whatever decimals the currency has."""

from __future__ import annotations

import pytest

from licenzy.kit.money import format_amount
from licenzy.stripe_sandbox.pages import format_money


@pytest.mark.parametrize("currency", ["usd", "eur", "chf", "jpy", "xpf", "kwd", "tnd", "isk", "ugx", "huf"])
def test_amounts_read_the_same_on_both_sides(currency: str) -> None:
    for amount in (0, 5, 1200, 1230, 123_456_789_012_345_670):
        assert format_money(amount, currency) == format_amount(amount, currency)


def test_an_amount_that_is_not_known() -> None:
    assert format_money(None, "usd") == "varies"
