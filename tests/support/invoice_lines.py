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


def proration_line(
    item: str | None, start: int, end: int, *, newer: bool, amount: int, **more: Any
) -> dict[str, Any]:
    """The line that credits or charges a part of a period, after a change within it.

    Without an item it names none, as invoice items do not; `price` names what it bills.
    """
    price = more.pop("price", None)
    line = {"object": "line_item", "amount": amount, "period": {"start": start, "end": end}, **more}
    if not newer:
        named = {name: value for name, value in (("subscription_item", item), ("price", price)) if value}
        return {**line, "type": "invoiceitem", "proration": True, **named}
    details = {"invoice_item": "ii_1", "proration": True}
    if item is None:
        parent: dict[str, Any] = {"type": "invoice_item_details", "invoice_item_details": details}
    else:
        of_item = {**details, "subscription_item": item}
        parent = {"type": "subscription_item_details", "subscription_item_details": of_item}
    pricing = {"type": "price_details", "price_details": {"price": price}}
    return {**line, "parent": parent, **({"pricing": pricing} if price else {})}


def one_off(amount: int, *, start: int, until: int, newer: bool) -> dict[str, Any]:
    """The line of an invoice item, as a setup fee is: it may have a period of its own, of a year say."""
    line = {"amount": amount, "period": {"start": start, "end": until}}
    kind = {"parent": {"invoice_item_details": {"proration": False}}} if newer else {"type": "invoiceitem"}
    return {**line, **kind}
