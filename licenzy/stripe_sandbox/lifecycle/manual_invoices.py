"""Invoices that a merchant makes, rather than the period of a subscription."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import invoice_items, invoices
from licenzy.stripe_sandbox.shapes import invoice_lines
from licenzy.stripe_sandbox.shapes import invoices as shapes
from licenzy.stripe_sandbox.shapes.invoice_lines import InvoiceEntry
from licenzy.stripe_sandbox.version import Json


def create(session: AccountStore, params: Json) -> Json:
    """A draft for a customer, or for a subscription of theirs; what waits to be invoiced is on it when asked
    for."""
    subscription = None
    if "subscription" in params:
        subscription = session.get("subscription", params["subscription"], param="subscription")
    named = params.get("customer") or (subscription or {}).get("customer")
    if named is None:
        raise InvalidParameter(
            "Missing required param: customer.", code="parameter_missing", param="customer"
        )
    customer = session.get("customer", named, param="customer")
    if subscription is not None and subscription["customer"] != customer["id"]:
        raise RequestRefused("The subscription belongs to another customer.", param="subscription")
    invoice = shapes.invoice(
        session,
        customer=customer,
        currency=(subscription or {}).get("currency") or params.get("currency", "usd"),
        billing_reason="manual",
        period={"start": session.now, "end": session.now},
        subscription=subscription,
        collection_method=params.get("collection_method", "charge_automatically"),
        days_until_due=params.get("days_until_due"),
    )
    invoice |= {"description": params.get("description"), "metadata": params.get("metadata") or {}}
    invoice |= {"due_date": params.get("due_date")}
    invoice |= advance_by_itself(session, params.get("auto_advance", False))
    session.insert(invoice)
    if params.get("pending_invoice_items_behavior") == "include":
        _take_pending(session, invoice, subscription)
    session.emit("invoice.created", invoice)
    return invoice


def advance_by_itself(session: AccountStore, wanted: bool) -> Json:
    """The fields of a draft for whether it is finalized by itself."""
    finalizes_at = session.now + shapes.DRAFT_SECONDS if wanted else None
    return {"auto_advance": wanted, "automatically_finalizes_at": finalizes_at}


def add_item(
    session: AccountStore, entry: InvoiceEntry, params: Json, *, customer: str, currency: str
) -> Json:
    """An invoice item: on the draft that is named, after its other lines, or for the next invoice."""
    invoice = None
    if "invoice" in params:
        invoice = session.get("invoice", params["invoice"], param="invoice")
        _require_draft(invoice)
    item = invoice_items.add(
        session,
        entry,
        customer=customer,
        currency=currency,
        subscription=params.get("subscription"),
        metadata=params.get("metadata"),
    )
    if invoice is not None:
        lines = invoice_lines.all_lines(invoice) + invoice_items.take(session, invoice, [item])
        session.emit("invoice.updated", invoice, invoices.set_lines(session, invoice, lines))
    return item


def send(session: AccountStore, invoice: Json) -> None:
    """Finalize a draft and send it, or send it once more."""
    if invoice["collection_method"] != "send_invoice":
        raise RequestRefused(
            "You can only manually send an invoice if its collection method is 'send_invoice'."
        )
    if invoice["status"] == "draft":
        invoices.finalize(session, invoice)
    elif invoice["status"] == "open":
        session.emit("invoice.sent", invoice)
    else:
        raise RequestRefused(f"The invoice {invoice['id']} is {invoice['status']}, so it is not sent.")


def delete(session: AccountStore, invoice: Json) -> None:
    """Only a draft that no subscription made can go."""
    _require_draft(invoice)
    if invoice["billing_reason"] != "manual":
        raise RequestRefused("You can't delete invoices created by subscriptions.")
    session.remove(invoice)
    session.emit("invoice.deleted", invoice)


def _take_pending(session: AccountStore, invoice: Json, subscription: Json | None) -> None:
    waiting = invoice_items.pending(
        session,
        customer=invoice["customer"],
        currency=invoice["currency"],
        subscription=subscription["id"] if subscription else None,
    )
    if subscription is not None:  # An invoice for a subscription takes only what is its own.
        waiting = [item for item in waiting if invoice_items.subscription_of(item)]
    invoices.set_lines(session, invoice, invoice_items.take(session, invoice, waiting))


def _require_draft(invoice: Json) -> None:
    if invoice["status"] != "draft":
        raise RequestRefused(
            f"The invoice {invoice['id']} is {invoice['status']}; only a draft can be changed.",
            code="invoice_not_editable",
        )
