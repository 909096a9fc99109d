"""The lines of invoices, and the invoice items that wait to become some."""

from __future__ import annotations

from dataclasses import dataclass

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.shapes.catalog import amount_of
from licenzy.stripe_sandbox.version import Json

LINES_SHOWN = 10
"""How many lines an invoice itself shows; the others are read by pages."""


@dataclass(frozen=True)
class InvoiceEntry:
    """Something that a customer owes, or that is credited where `amount` is below zero.

    `price` is None for an amount without one. `start` and `end` are the time that it pays for, in seconds
    since 1970. `item` names the subscription's item that it prorates.
    """

    price: Json | None
    quantity: int
    amount: int
    start: int
    end: int
    description: str | None = None
    item: str | None = None

    @property
    def proration(self) -> bool:
        return self.item is not None


def invoice_item(
    session: AccountStore,
    entry: InvoiceEntry,
    *,
    customer: str,
    currency: str,
    subscription: str | None,
    metadata: Json | None = None,
    classic: bool = False,
) -> Json:
    """An entry that waits for the next invoice. With `classic` billing its line does not name the
    subscription's item."""
    details = {"subscription": subscription, "subscription_item": entry.item}
    return {
        "id": new_id("ii_1"),
        "object": "invoiceitem",
        "amount": entry.amount,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": session.now,
        "description": entry.description,
        "discountable": not entry.proration and entry.amount >= 0,
        "discounts": [],
        "invoice": None,
        "livemode": session.account.livemode,
        "metadata": metadata or {},
        "net_amount": entry.amount,
        "parent": {"subscription_details": details, "type": "subscription_details"} if subscription else None,
        "period": {"end": entry.end, "start": entry.start},
        "pricing": _pricing(entry.price),
        "proration": entry.proration,
        "proration_details": {"credited_items": None, "discount_amounts": []} if entry.proration else None,
        "quantity": entry.quantity,
        "quantity_decimal": str(entry.quantity),
        "tax_rates": [],
        "test_clock": None,
        "_classic": classic,
    }


def line_of_invoice_item(session: AccountStore, invoice_id: str, item: Json) -> Json:
    """The line that an invoice item becomes. A proration is a line of its subscription's item, unless billing
    is classic."""
    named = (item["parent"] or {}).get("subscription_details") or {}
    of_item = None if item["_classic"] else named.get("subscription_item")
    details = {
        "invoice_item": item["id"],
        "proration": item["proration"],
        "proration_details": {"credited_items": None},
        "subscription": named.get("subscription"),
    }
    return {
        **_line(session, invoice_id, item["currency"], item["amount"], item["quantity"]),
        "description": item["description"],
        "discountable": item["discountable"],
        "metadata": item["metadata"],
        "parent": {
            "invoice_item_details": None if of_item else details,
            "subscription_item_details": {**details, "subscription_item": of_item} if of_item else None,
            "type": "subscription_item_details" if of_item else "invoice_item_details",
        },
        "period": item["period"],
        "pricing": item["pricing"],
        "subscription": named.get("subscription"),
    }


def line_of_subscription_item(
    session: AccountStore, invoice_id: str, subscription: Json, item: Json, *, free: bool
) -> Json:
    """What a subscription's item costs for its present period."""
    price, quantity = item["price"], item.get("quantity", 0)
    amount = 0 if free else amount_of(price, quantity)
    return {
        **_line(session, invoice_id, price["currency"], amount, quantity),
        "description": f"{quantity} × {price['nickname'] or price['id']}",
        "metadata": subscription["metadata"],
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pricing": _pricing(price),
        "subscription": subscription["id"],
    }


def listed(lines: list[Json], invoice_id: str) -> Json:
    """The fields of an invoice for its lines: the first of them, and all where those are not enough."""
    shown = {
        "object": "list",
        "data": lines[:LINES_SHOWN],
        "has_more": len(lines) > LINES_SHOWN,
        "total_count": len(lines),
        "url": f"/v1/invoices/{invoice_id}/lines",
    }
    return {"lines": shown, "_lines": lines if len(lines) > LINES_SHOWN else None}


def all_lines(invoice: Json) -> list[Json]:
    """Every line of an invoice."""
    lines: list[Json] = invoice.get("_lines") or invoice["lines"]["data"]
    return lines


def sums(lines: list[Json], *, balance: int) -> Json:
    """The fields of an invoice for what is owed. A balance below zero is what the customer has left."""
    total = sum(line["amount"] for line in lines)
    due = max(0, total + balance)
    return {
        "amount_due": due,
        "amount_remaining": due,
        "starting_balance": balance,
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
    }


def _pricing(price: Json | None) -> Json | None:
    if price is None:
        return None
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def _line(session: AccountStore, invoice_id: str, currency: str, amount: int, quantity: int) -> Json:
    return {
        "id": new_id("il_1"),
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": session.account.livemode,
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "subtotal": amount,
        "taxes": [],
    }
