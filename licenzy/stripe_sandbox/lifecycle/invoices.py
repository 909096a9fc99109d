"""Invoices of subscriptions: drawn up, finalised, paid, failed, given up."""

from __future__ import annotations

from licenzy.stripe_sandbox.books import Books, where
from licenzy.stripe_sandbox.lifecycle import payments
from licenzy.stripe_sandbox.lifecycle.payments import How
from licenzy.stripe_sandbox.shapes import invoices as shapes
from licenzy.stripe_sandbox.version import Json

# Days between the tries to collect a failed invoice; after the last one the subscription is canceled
# (Stripe's default).
RETRY_DAYS = (3, 5, 7)


def draw_up(
    books: Books,
    subscription: Json,
    *,
    reason: str,
    ended_period: Json,
    free: bool = False,
    extra: list[Json] | None = None,
) -> Json:
    """A draft becomes the subscription's latest invoice and is announced; the subscription itself is not."""
    customer = books.get("customer", subscription["customer"], param="customer")
    invoice = shapes.invoice(
        books,
        subscription,
        customer=customer,
        billing_reason=reason,
        free=free,
        lines=extra or [],
        ended_period=ended_period,
    )
    books.insert(invoice)
    books.change(subscription, latest_invoice=invoice["id"])
    books.emit("invoice.created", invoice)
    return invoice


def finalize(books: Books, invoice: Json) -> None:
    """Numbered and open; with something to pay, an intent and an invoice payment come into being."""
    customer = books.get("customer", invoice["customer"], param="customer")
    number = customer["next_invoice_sequence"]
    books.change(customer, next_invoice_sequence=number + 1)
    books.change(
        invoice,
        status="open",
        number=f"{customer['invoice_prefix']}-{number:04d}",
        effective_at=books.now,
        automatically_finalizes_at=None,
        ending_balance=0,
        status_transitions={**invoice["status_transitions"], "finalized_at": books.now},
    )
    books.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        return
    intent = payments.open_intent(
        books,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        email=invoice["customer_email"],
        metadata={},
        invoice=invoice["id"],
        for_renewals=True,
        description="Subscription creation"
        if invoice["billing_reason"] == "subscription_create"
        else "Subscription update",
    )
    books.insert(shapes.invoice_payment(books, invoice, intent=intent["id"], status="open"))


def collect(books: Books, invoice: Json, *, how: How) -> None:
    """One try to collect. A slow debit leaves the invoice open; `close_as_paid` or `fail` follows when the
    bank answers."""
    if invoice["amount_due"] > 0:
        payments.attempt(books, intent_of(books, invoice), how=how)
    if how is How.PAY or invoice["amount_due"] == 0:
        close_as_paid(books, invoice)
    elif how is How.DECLINE:
        fail(books, invoice)
    else:
        books.change(invoice, attempted=True, attempt_count=invoice["attempt_count"] + 1)


def close_as_paid(books: Books, invoice: Json) -> None:
    due = invoice["amount_due"]
    books.change(
        invoice,
        status="paid",
        attempted=True,
        auto_advance=False,
        amount_paid=due,
        amount_remaining=0,
        attempt_count=max(1, invoice["attempt_count"]) if due else 0,
        next_payment_attempt=None,
        status_transitions={**invoice["status_transitions"], "paid_at": books.now},
    )
    books.emit("invoice.paid", invoice)
    books.emit("invoice.payment_succeeded", invoice)
    if due:
        payment = payment_of(books, invoice)
        moments = {"canceled_at": None, "paid_at": books.now}
        books.change(payment, status="paid", amount_paid=due, status_transitions=moments)
        books.emit("invoice_payment.paid", payment)


def fail(books: Books, invoice: Json) -> None:
    """The next try is planned as long as there is one left."""
    tries = invoice["attempt_count"] + 1
    again = books.now + RETRY_DAYS[tries - 1] * 86400 if tries <= len(RETRY_DAYS) else None
    books.change(invoice, attempted=True, attempt_count=tries, next_payment_attempt=again)
    books.emit("invoice.payment_failed", invoice)


def void(books: Books, invoice: Json) -> None:
    transitions = {**invoice["status_transitions"], "voided_at": books.now}
    books.change(
        invoice,
        status="void",
        auto_advance=False,
        next_payment_attempt=None,
        amount_remaining=0,
        automatically_finalizes_at=None,
        status_transitions=transitions,
    )
    books.emit("invoice.voided", invoice)


def open_invoices(books: Books, subscription_id: str) -> list[Json]:
    """Oldest first."""
    found = books.select(
        "invoice", where("parent.subscription_details.subscription", subscription_id), where("status", "open")
    )
    return found[::-1]


def payment_of(books: Books, invoice: Json) -> Json:
    return books.select("invoice_payment", where("invoice", invoice["id"]))[0]


def intent_of(books: Books, invoice: Json) -> Json:
    intent_id = payment_of(books, invoice)["payment"]["payment_intent"]
    return books.get("payment_intent", intent_id, param="payment_intent")
