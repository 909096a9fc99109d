"""Amounts as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licenzy.kit.money import decimals, format_amount, parse_amount


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (1200, "usd", "$12.00"),
        (1200, "USD", "$12.00"),
        (5, "eur", "€0.05"),
        (0, "gbp", "£0.00"),
        (123_456_789, "usd", "$1,234,567.89"),
        (-1200, "usd", "-$12.00"),
        (-5, "chf", "-0.05 CHF"),
        (1200, "chf", "12.00 CHF"),
        (500, "jpy", "¥500"),
        (-500, "jpy", "-¥500"),
        (1_000_000, "krw", "1,000,000 KRW"),
        (5124, "kwd", "5.124 KWD"),
        (7, "bhd", "0.007 BHD"),
        # No decimals in life, two in Stripe's API.
        (500, "isk", "5.00 ISK"),
        (500, "ugx", "5.00 UGX"),
        (10**18 + 1, "usd", "$10,000,000,000,000,000.01"),
        (None, "usd", "–"),
        (1200, None, "–"),
        (1200, "", "–"),
        (None, None, "–"),
    ],
)
def test_amounts(amount: int | None, currency: str | None, written: str) -> None:
    assert format_amount(amount, currency) == written


@settings(database=None, deadline=None)
@given(st.integers(-(10**30), 10**30), st.sampled_from(["jpy", "chf", "kwd", "usd"]))
def test_no_amount_is_rounded(amount: int, currency: str) -> None:
    written = format_amount(amount, currency)
    assert int("".join(c for c in written if c in "-0123456789")) == amount
    assert len(written.strip(" $¥CHFKWD").partition(".")[2]) == decimals(currency)


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("20", "eur", 2000),
        (" 20.5 ", "EUR", 2050),
        ("20.05", "usd", 2005),
        ("0", "usd", 0),
        ("20", "jpy", 20),
        ("1.005", "kwd", 1005),
        ("20.5", "jpy", None),
        ("20.555", "usd", None),
        ("1,000", "usd", None),
        ("20,50", "eur", None),
        ("-1", "usd", None),
        ("20.", "usd", None),
        ("1e3", "usd", None),
        ("٢", "usd", None),
        ("", "usd", None),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, currency: str, amount: int | None) -> None:
    assert parse_amount(text, currency) == amount
