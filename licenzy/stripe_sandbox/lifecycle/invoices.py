"""Invoices of subscriptions, from draft to paid, failed or void."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession, where
from licenzy.stripe_sandbox.lifecycle import payments
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes import invoices as shapes
from licenzy.stripe_sandbox.version import Json

# Days between the tries to collect a failed invoice; after the last one the subscription is canceled
# (Stripe's default).
RETRY_DAYS = (3, 5, 7)


def create_draft(
    session: AccountSession,
    subscription: Json,
    *,
    reason: str,
    ended_period: Json,
    free: bool = False,
    extra: list[Json] | None = None,
) -> Json:
    """A draft becomes the subscription's latest invoice and is announced; the subscription itself is not."""
    customer = session.get("customer", subscription["customer"], param="customer")
    invoice = shapes.invoice(
        session,
        subscription,
        customer=customer,
        billing_reason=reason,
        free=free,
        lines=extra or [],
        ended_period=ended_period,
    )
    session.insert(invoice)
    session.change(subscription, latest_invoice=invoice["id"])
    session.emit("invoice.created", invoice)
    return invoice


def finalize(session: AccountSession, invoice: Json) -> None:
    """Numbered and open; with something to pay, a payment intent and an invoice payment are created."""
    customer = session.get("customer", invoice["customer"], param="customer")
    number = customer["next_invoice_sequence"]
    session.change(customer, next_invoice_sequence=number + 1)
    session.change(
        invoice,
        status="open",
        number=f"{customer['invoice_prefix']}-{number:04d}",
        effective_at=session.now,
        automatically_finalizes_at=None,
        ending_balance=0,
        status_transitions={**invoice["status_transitions"], "finalized_at": session.now},
    )
    session.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        return
    intent = payments.open_intent(
        session,
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
    session.insert(shapes.invoice_payment(session, invoice, intent=intent["id"], status="open"))


def collect(session: AccountSession, invoice: Json, *, outcome: PaymentOutcome) -> None:
    """One try to collect. A slow debit leaves the invoice open; `close_as_paid` or `fail` follows when the
    bank answers."""
    if invoice["amount_due"] > 0:
        payments.attempt(session, intent_of(session, invoice), outcome=outcome)
    if outcome is PaymentOutcome.PAY or invoice["amount_due"] == 0:
        close_as_paid(session, invoice)
    elif outcome is PaymentOutcome.DECLINE:
        fail(session, invoice)
    else:
        session.change(invoice, attempted=True, attempt_count=invoice["attempt_count"] + 1)


def close_as_paid(session: AccountSession, invoice: Json) -> None:
    """The invoice is paid, together with its invoice payment where something was due."""
    due = invoice["amount_due"]
    session.change(
        invoice,
        status="paid",
        attempted=True,
        auto_advance=False,
        amount_paid=due,
        amount_remaining=0,
        attempt_count=max(1, invoice["attempt_count"]) if due else 0,
        next_payment_attempt=None,
        status_transitions={**invoice["status_transitions"], "paid_at": session.now},
    )
    session.emit("invoice.paid", invoice)
    session.emit("invoice.payment_succeeded", invoice)
    if due:
        payment = payment_of(session, invoice)
        moments = {"canceled_at": None, "paid_at": session.now}
        session.change(payment, status="paid", amount_paid=due, status_transitions=moments)
        session.emit("invoice_payment.paid", payment)


def fail(session: AccountSession, invoice: Json) -> None:
    """The next try is planned as long as there is one left."""
    tries = invoice["attempt_count"] + 1
    again = session.now + RETRY_DAYS[tries - 1] * 86400 if tries <= len(RETRY_DAYS) else None
    session.change(invoice, attempted=True, attempt_count=tries, next_payment_attempt=again)
    session.emit("invoice.payment_failed", invoice)


def void(session: AccountSession, invoice: Json) -> None:
    """The invoice is no longer owed."""
    transitions = {**invoice["status_transitions"], "voided_at": session.now}
    session.change(
        invoice,
        status="void",
        auto_advance=False,
        next_payment_attempt=None,
        amount_remaining=0,
        automatically_finalizes_at=None,
        status_transitions=transitions,
    )
    session.emit("invoice.voided", invoice)


def open_invoices(session: AccountSession, subscription_id: str) -> list[Json]:
    """Oldest first."""
    found = session.select(
        "invoice", where("parent.subscription_details.subscription", subscription_id), where("status", "open")
    )
    return found[::-1]


def payment_of(session: AccountSession, invoice: Json) -> Json:
    """The one payment of a finalized invoice."""
    return session.select("invoice_payment", where("invoice", invoice["id"]))[0]


def intent_of(session: AccountSession, invoice: Json) -> Json:
    """The payment intent of a finalized invoice."""
    intent_id = payment_of(session, invoice)["payment"]["payment_intent"]
    return session.get("payment_intent", intent_id, param="payment_intent")
