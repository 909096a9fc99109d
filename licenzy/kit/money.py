"""Amounts in Stripe's smallest currency unit, written for people."""

from __future__ import annotations

import re

# Source: Stripe's documentation on currencies, "Zero-decimal currencies" and "Three-decimal currencies".
# ISK and UGX have no decimals in life, but in the API they do ("Special cases": 5 UGX are sent as 500).
_ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
_THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def decimals(currency: str) -> int:
    """How many decimals Stripe's smallest unit of this currency has: 0, 2 or 3."""
    code = currency.lower()
    return 0 if code in _ZERO_DECIMAL else 3 if code in _THREE_DECIMAL else 2


def format_amount(amount: int | None, currency: str | None) -> str:
    """`$12.00`, `-$12.00`, `¥500`, `12.00 CHF`; a dash when either part is unknown."""
    if amount is None or not currency:
        return "–"
    places = decimals(currency)
    whole, rest = divmod(abs(amount), 10**places)
    number = f"{whole:,}.{rest:0{places}}" if places else f"{whole:,}"
    minus = "-" if amount < 0 else ""
    sign = _SIGNS.get(currency.lower())
    return f"{minus}{sign}{number}" if sign else f"{minus}{number} {currency.upper()}"


def parse_amount(text: str, currency: str) -> int | None:
    """`20` or `20.50` as people write an amount, in the smallest unit; none where it is no such amount."""
    found = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?", text.strip(), re.ASCII)
    places = decimals(currency)
    in_one: int = 10**places
    if found is None or len(found[2] or "") > places:
        return None
    return int(found[1]) * in_one + int((found[2] or "").ljust(places, "0") or "0")
