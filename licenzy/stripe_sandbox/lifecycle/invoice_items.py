"""Invoice items: what a customer owes besides the periods of a subscription, until an invoice takes it."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, Condition, where
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.shapes import invoice_lines as shapes
from licenzy.stripe_sandbox.shapes.invoice_lines import InvoiceEntry
from licenzy.stripe_sandbox.version import Json

_PENDING: Condition = ("json_extract(body, '$.invoice') IS NULL", [])


def add(
    session: AccountStore,
    entry: InvoiceEntry,
    *,
    customer: str,
    currency: str,
    subscription: str | None,
    metadata: Json | None = None,
    classic: bool = False,
) -> Json:
    """An item that the next invoice of the subscription, or of the customer, takes."""
    item = shapes.invoice_item(
        session,
        entry,
        customer=customer,
        currency=currency,
        subscription=subscription,
        metadata=metadata,
        classic=classic,
    )
    session.insert(item)
    session.emit("invoiceitem.created", item)
    return item


def pending(session: AccountStore, *, customer: str, currency: str, subscription: str | None) -> list[Json]:
    """What waits for an invoice of this subscription or of none, newest first."""
    found = session.select("invoiceitem", where("customer", customer), where("currency", currency), _PENDING)
    return [item for item in found if subscription_of(item) in (None, subscription)]


def pending_of(session: AccountStore, subscription: str) -> list[Json]:
    """What waits for an invoice of this subscription alone, newest first."""
    named = where("parent.subscription_details.subscription", subscription)
    return session.select("invoiceitem", named, _PENDING)


def take(session: AccountStore, invoice: Json, items: list[Json]) -> list[Json]:
    """Put the items on the invoice; the lines that they become, in the same order."""
    lines = []
    for item in items:
        session.change(item, invoice=invoice["id"])
        lines.append(shapes.line_of_invoice_item(session, invoice["id"], item))
    return lines


def remove(session: AccountStore, item: Json) -> None:
    """Only what no invoice has taken can go."""
    if item["invoice"] is not None:
        raise RequestRefused(
            f"The invoice item {item['id']} is attached to an invoice, so it cannot be deleted.",
            param="invoiceitem",
        )
    session.remove(item)
    session.emit("invoiceitem.deleted", item)


def subscription_of(item: Json) -> str | None:
    """The subscription that an invoice item belongs to."""
    details = (item["parent"] or {}).get("subscription_details") or {}
    named: str | None = details.get("subscription")
    return named
