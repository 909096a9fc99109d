"""Invoices and their lines, in the shape since API 2025-03-31 and in the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PAGE = 10
"""As many lines of an invoice as an event holds."""


@dataclass(frozen=True)
class InvoiceLine:
    """A line of an invoice; without an item, it is a fee or what else was put on the invoice."""

    item: str | None
    price: str
    quantity: int
    start: int
    end: int
    amount: int
    proration: bool = False

    @property
    def begins_period(self) -> bool:
        return self.item is not None and not self.proration


@dataclass
class Invoice:
    """An invoice as Stripe knows it, with all of its lines and what happened to it."""

    number: int
    reason: str
    created: int
    lines: list[InvoiceLine] = field(default_factory=list)
    status: str = "open"
    paid_at: int | None = None
    failed_at: int | None = None
    """When a payment of it failed first, or when it became overdue."""
    sold_as: dict[str, dict[str, Mapping[str, Any] | None]] = field(default_factory=dict)
    """What each item meant at a price when it was shown with the invoice, or first after it."""

    @property
    def amount(self) -> int:
        """What is to be paid; a credit of more than that is left for later invoices."""
        return max(0, sum(line.amount for line in self.lines))

    @property
    def is_paid(self) -> bool:
        return self.paid_at is not None

    def own(self, item: str) -> InvoiceLine | None:
        """The line that begins a period of an item."""
        return next((line for line in self.lines if line.begins_period and line.item == item), None)


def as_invoice(
    invoice: Invoice, *, tag: str, payment: dict[str, str], newer: bool, all_lines: bool, names: str
) -> dict[str, Any]:
    """The object that Stripe sends; without `all_lines` it has the first page of them.

    `names` says what its lines name: the item, else its price, or else nothing.
    """
    lines = invoice.lines if all_lines else invoice.lines[:PAGE]
    data = [_as_line(line, tag=tag, newer=newer, names=names) for line in lines]
    obj = {
        "id": invoice_id(tag, invoice.number),
        "object": "invoice",
        "status": invoice.status,
        "billing_reason": invoice.reason,
        "created": invoice.created,
        "amount_due": invoice.amount,
        "amount_paid": invoice.amount if invoice.is_paid else 0,
        "currency": "usd",
        "customer": f"cus_{tag}",
        "lines": {"object": "list", "has_more": len(lines) < len(invoice.lines), "data": data},
    }
    if newer:
        details = {"subscription": f"sub_{tag}", "metadata": {}}
        return {**obj, "parent": {"subscription_details": details}}
    return {**obj, "subscription": f"sub_{tag}", **(payment if invoice.amount else {})}


def invoice_id(tag: str, number: int) -> str:
    return f"in_{tag}_{number}"


def _as_line(line: InvoiceLine, *, tag: str, newer: bool, names: str) -> dict[str, Any]:
    obj = {
        "object": "line_item",
        "amount": line.amount,
        "period": {"start": line.start, "end": line.end},
    }
    # In the older shape the lines of periods may lack their items as well.
    is_named = names == "item" or line.item is None or (newer and line.begins_period)
    item = f"{line.item}_{tag}" if line.item is not None and is_named else None
    has_price = is_named or names == "price"
    if has_price:
        obj["quantity"] = line.quantity
    if not newer:
        of_item = {} if item is None else {"subscription_item": item}
        return {
            **obj,
            **of_item,
            "type": "subscription" if line.begins_period else "invoiceitem",
            "proration": line.proration,
            **({"price": {"id": line.price}} if has_price else {}),
        }
    kind = "invoice_item_details" if item is None else "subscription_item_details"
    details: dict[str, Any] = {"proration": line.proration}
    if item is not None:
        details["subscription_item"] = item
    if not line.begins_period:
        details["invoice_item"] = f"ii_{tag}_{line.start}"
    return {
        **obj,
        "parent": {"type": kind, kind: details},
        "pricing": {"type": "price_details", "price_details": {"price": line.price}} if has_price else None,
    }
