"""Lines of invoices, as Stripe sends them: in the shape since API 2025-03-31 and in the one before."""

from __future__ import annotations

from typing import Any


def period_line(
    item: str, price: str, start: int, end: int, *, newer: bool, amount: int = 1200, **more: Any
) -> dict[str, Any]:
    """The line that bills one period of a subscription's item."""
    line = {
        "object": "line_item",
        "amount": amount,
        "quantity": 1,
        "period": {"start": start, "end": end},
        **more,
    }
    if not newer:
        named = {"type": "subscription", "subscription_item": item, "proration": False}
        return {**line, **named, "price": {"id": price}}
    return {
        **line,
        "parent": {
            "type": "subscription_item_details",
            "subscription_item_details": {"subscription_item": item, "proration": False},
        },
        "pricing": {"type": "price_details", "price_details": {"price": price}},
    }


def proration_line(item: str, start: int, end: int, *, newer: bool, amount: int) -> dict[str, Any]:
    """The line that credits or charges a part of a period, after a change within it."""
    line = {"object": "line_item", "amount": amount, "quantity": 1, "period": {"start": start, "end": end}}
    if not newer:
        return {**line, "type": "invoiceitem", "subscription_item": item, "proration": True}
    details = {"invoice_item": "ii_1", "subscription_item": item, "proration": True}
    return {
        **line,
        "parent": {"type": "subscription_item_details", "subscription_item_details": details},
    }


def one_off(amount: int, *, start: int, until: int, newer: bool) -> dict[str, Any]:
    """The line of an invoice item, as a setup fee is: it may have a period of its own, of a year say."""
    line = {"amount": amount, "period": {"start": start, "end": until}}
    kind = {"parent": {"invoice_item_details": {"proration": False}}} if newer else {"type": "invoiceitem"}
    return {**line, **kind}
