"""Amounts in Stripe's smallest currency unit, written for people."""

from __future__ import annotations

# Source: Stripe's documentation on currencies, "Zero-decimal currencies" and "Three-decimal currencies".
_ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf"}
    | {"xof", "xpf"}
)
_THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def decimals(currency: str) -> int:
    """How many decimals Stripe's smallest unit of this currency has: 0, 2 or 3."""
    code = currency.lower()
    return 0 if code in _ZERO_DECIMAL else 3 if code in _THREE_DECIMAL else 2


def format_amount(amount: int | None, currency: str | None) -> str:
    """`$12.00`, `¥500`, `12.00 CHF`; a dash when either part is unknown."""
    if amount is None or not currency:
        return "–"
    places = decimals(currency)
    number = f"{amount / 10**places:,.{places}f}"
    sign = _SIGNS.get(currency.lower())
    return f"{sign}{number}" if sign else f"{number} {currency.upper()}"
