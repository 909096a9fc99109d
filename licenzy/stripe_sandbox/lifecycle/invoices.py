"""Invoices: drafted, finalized, and paid or not."""

from __future__ import annotations

from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.lifecycle import invoice_items, payments
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes import invoice_lines
from licenzy.stripe_sandbox.shapes import invoices as shapes
from licenzy.stripe_sandbox.version import Json

# Days between the tries to collect a failed invoice; after the last one the subscription is canceled
# (Stripe's default).
RETRY_DAYS = (3, 5, 7)
DEFAULT_DAYS_UNTIL_DUE = 30


def create_for_subscription(
    session: AccountStore,
    subscription: Json,
    *,
    reason: str,
    ended_period: Json,
    items: list[Json],
    free: bool = False,
    changes: Json | None = None,
) -> Json:
    """A draft for the periods of these items and for what waits to be invoiced.

    It becomes the subscription's latest invoice and is announced. The subscription is announced too where
    anything else of it changes: its `changes` and its invoice are one event, as at Stripe."""
    customer = session.get("customer", subscription["customer"], param="customer")
    invoice = shapes.invoice(
        session,
        customer=customer,
        currency=subscription["currency"],
        billing_reason=reason,
        period=ended_period,
        subscription=subscription,
        collection_method=subscription["collection_method"],
        days_until_due=subscription["days_until_due"],
    )
    session.insert(invoice)
    waiting = invoice_items.pending(
        session,
        customer=customer["id"],
        currency=subscription["currency"],
        subscription=subscription["id"],
    )
    lines = invoice_items.take(session, invoice, waiting)
    lines += [
        invoice_lines.line_of_subscription_item(session, invoice["id"], subscription, item, free=free)
        for item in reversed(items)
    ]
    set_lines(session, invoice, lines)
    previous = session.change(subscription, latest_invoice=invoice["id"], **(changes or {}))
    if changes:
        session.emit("customer.subscription.updated", subscription, previous)
    session.emit("invoice.created", invoice)
    return invoice


def set_lines(session: AccountStore, invoice: Json, lines: list[Json]) -> Json:
    """Replace the lines of a draft, with its amounts; returns what they replaced."""
    return session.change(
        invoice,
        **invoice_lines.listed(lines, invoice["id"]),
        **invoice_lines.sums(lines, balance=invoice["starting_balance"]),
    )


def finalize(session: AccountStore, invoice: Json) -> None:
    """Numbered and open; with something to pay, a payment intent and an invoice payment are created.

    What the customer has left from credits is used, and credits that are not used up are kept for later."""
    if invoice["status"] != "draft":
        raise RequestRefused(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            code="invoice_not_editable",
        )
    customer = session.get("customer", invoice["customer"], param="customer")
    left = min(0, invoice["total"] + customer["balance"])
    by_mail = invoice["collection_method"] == "send_invoice"
    number = customer["next_invoice_sequence"]
    session.change(
        invoice,
        **invoice_lines.sums(invoice_lines.all_lines(invoice), balance=customer["balance"]),
        status="open",
        number=f"{customer['invoice_prefix']}-{number:04d}",
        effective_at=session.now,
        automatically_finalizes_at=None,
        ending_balance=left,
        due_date=_due_date(session, invoice) if by_mail else None,
        status_transitions={**invoice["status_transitions"], "finalized_at": session.now},
    )
    session.change(customer, next_invoice_sequence=number + 1)
    if left != customer["balance"]:
        session.emit("customer.updated", customer, session.change(customer, balance=left))
    session.emit("invoice.finalized", invoice)
    if invoice["amount_due"] > 0:
        _ask_for_payment(session, invoice)
    if by_mail:
        session.emit("invoice.sent", invoice)


def collect(
    session: AccountStore, invoice: Json, *, outcome: PaymentOutcome, settles_at: int | None = None
) -> None:
    """One try to collect. A slow debit leaves the invoice open; `close_as_paid` or `fail` follows when the
    bank answers."""
    if invoice["amount_due"] > 0:
        payments.attempt(session, intent_of(session, invoice), outcome=outcome, settles_at=settles_at)
    if outcome is PaymentOutcome.SUCCEEDED or invoice["amount_due"] == 0:
        close_as_paid(session, invoice)
    elif outcome is PaymentOutcome.FAILED:
        fail(session, invoice)
    else:
        session.change(
            invoice,
            attempted=True,
            attempt_count=invoice["attempt_count"] + 1,
            next_payment_attempt=None,
        )


def close_as_paid(session: AccountStore, invoice: Json) -> None:
    """The invoice is paid, together with its invoice payment where something was due."""
    due = _note_paid(session, invoice)
    if due:
        payment = payment_of(session, invoice)
        moments = {"canceled_at": None, "paid_at": session.now}
        session.change(payment, status="paid", amount_paid=due, status_transitions=moments)
        session.emit("invoice_payment.paid", payment)


def close_as_paid_elsewhere(session: AccountStore, invoice: Json) -> None:
    """The customer paid past Stripe, such as by a bank transfer: nothing is charged."""
    if invoice["amount_due"]:
        _cancel_payment(session, invoice)
    _note_paid(session, invoice, amount_paid_off_stripe=invoice["amount_due"])


def fail(session: AccountStore, invoice: Json) -> None:
    """The next try is planned as long as there is one left. An invoice that is sent is not tried again."""
    tries = invoice["attempt_count"] + 1
    again = session.now + RETRY_DAYS[tries - 1] * 86400 if tries <= len(RETRY_DAYS) else None
    if invoice["collection_method"] == "send_invoice" or not invoice["auto_advance"]:
        again = None
    session.change(invoice, attempted=True, attempt_count=tries, next_payment_attempt=again)
    session.emit("invoice.payment_failed", invoice)


def fail_debit(session: AccountStore, invoice: Json) -> None:
    """The bank sends a debit back. The try was counted when it began."""
    session.change(invoice, attempt_count=invoice["attempt_count"] - 1)
    fail(session, invoice)


def void(session: AccountStore, invoice: Json) -> None:
    """The invoice is no longer owed."""
    if invoice["status"] in ("open", "uncollectible") and invoice["amount_due"]:
        _cancel_payment(session, invoice)
    _close(session, invoice, status="void", transition="voided_at", amount_remaining=0)
    session.emit("invoice.voided", invoice)


def mark_uncollectible(session: AccountStore, invoice: Json) -> None:
    """Nobody expects it to be paid; it still can be."""
    _close(session, invoice, status="uncollectible", transition="marked_uncollectible_at")
    session.emit("invoice.marked_uncollectible", invoice)


def keep_as_draft(session: AccountStore, invoice: Json) -> None:
    """The draft is not finalized by itself."""
    session.change(invoice, auto_advance=False, automatically_finalizes_at=None)


def stop_collecting(session: AccountStore, subscription_id: str) -> None:
    """What a subscription still owes is owed, but nothing more is tried by itself."""
    for invoice in unpaid(session, subscription_id):
        session.change(
            invoice, auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None
        )


def announce_overdue(session: AccountStore, invoice: Json) -> None:
    """The day by which a sent invoice was to be paid is over."""
    session.change(invoice, _overdue=True)
    session.emit("invoice.overdue", invoice)


def open_invoices(session: AccountStore, subscription_id: str) -> list[Json]:
    """Oldest first."""
    return [invoice for invoice in unpaid(session, subscription_id) if invoice["status"] == "open"]


def unpaid(session: AccountStore, subscription_id: str) -> list[Json]:
    """Drafts and open ones, oldest first."""
    found = session.select(
        "invoice",
        where("parent.subscription_details.subscription", subscription_id),
        ("json_extract(body, '$.status') IN ('draft', 'open')", []),
    )
    return found[::-1]


def payment_of(session: AccountStore, invoice: Json) -> Json:
    """The one payment of a finalized invoice."""
    return session.select("invoice_payment", where("invoice", invoice["id"]))[0]


def intent_of(session: AccountStore, invoice: Json) -> Json:
    """The payment intent of a finalized invoice."""
    intent_id = payment_of(session, invoice)["payment"]["payment_intent"]
    return session.get("payment_intent", intent_id, param="payment_intent")


def invoice_of(session: AccountStore, intent: Json) -> Json | None:
    """The invoice that an intent pays."""
    return session.find("invoice", intent["payment_details"]["order_reference"])


def subscription_of(session: AccountStore, invoice: Json) -> Json | None:
    """The subscription that an invoice bills, where it bills one."""
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    return session.find("subscription", details.get("subscription"))


def _ask_for_payment(session: AccountStore, invoice: Json) -> None:
    descriptions = {"subscription_create": "Subscription creation", "manual": "Invoice"}
    intent = payments.open_intent(
        session,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        email=invoice["customer_email"],
        metadata={},
        invoice=invoice["id"],
        for_renewals=True,
        description=descriptions.get(invoice["billing_reason"], "Subscription update"),
    )
    session.insert(shapes.invoice_payment(session, invoice, intent=intent["id"], status="open"))


def _cancel_payment(session: AccountStore, invoice: Json) -> None:
    payment = payment_of(session, invoice)
    moments = {"canceled_at": session.now, "paid_at": None}
    session.change(payment, status="canceled", status_transitions=moments)
    payments.cancel_intent(session, intent_of(session, invoice))


def _note_paid(session: AccountStore, invoice: Json, **also: Any) -> int:
    due: int = invoice["amount_due"]
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
        **also,
    )
    session.emit("invoice.paid", invoice)
    session.emit("invoice.payment_succeeded", invoice)
    return due


def _close(session: AccountStore, invoice: Json, *, status: str, transition: str, **also: Any) -> None:
    session.change(
        invoice,
        status=status,
        auto_advance=False,
        next_payment_attempt=None,
        automatically_finalizes_at=None,
        status_transitions={**invoice["status_transitions"], transition: session.now},
        **also,
    )


def _due_date(session: AccountStore, invoice: Json) -> int:
    days = invoice.get("_days_until_due")
    given: int | None = invoice["due_date"]
    return given or session.now + (DEFAULT_DAYS_UNTIL_DUE if days is None else days) * 86400
