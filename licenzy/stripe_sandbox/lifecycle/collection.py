"""Invoices on their way to be paid, and the subscriptions that follow them."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.errors import CardDeclined, RequestRefused
from licenzy.stripe_sandbox.lifecycle import invoices, payments, subscriptions
from licenzy.stripe_sandbox.lifecycle.payment_methods import outcome_by, outcome_of
from licenzy.stripe_sandbox.lifecycle.payments import DEBIT_SECONDS, PaymentOutcome
from licenzy.stripe_sandbox.version import Json


def advance(session: AccountStore, invoice: Json) -> None:
    """A draft's hour is over: it is finalized, and collected unless it is sent."""
    collect_now(session, invoice, outcome=_outcome(session, invoice))


def collect_now(session: AccountStore, invoice: Json, *, outcome: PaymentOutcome) -> None:
    """Finalize a draft and collect it at once; one that is sent waits for its customer."""
    if invoice["status"] == "draft":
        invoices.finalize(session, invoice)
    if invoice["collection_method"] == "charge_automatically" or invoice["amount_due"] == 0:
        collect(session, invoice, outcome=outcome)


def collect(session: AccountStore, invoice: Json, *, outcome: PaymentOutcome) -> None:
    """Try to collect, and let the subscription follow: active, past due, or canceled when given up."""
    outcome = PaymentOutcome.SUCCEEDED if invoice["amount_due"] == 0 else outcome
    subscription = invoices.subscription_of(session, invoice)
    if outcome is PaymentOutcome.FAILED and subscription is not None:
        subscriptions.set_card_fails(session, subscription, True)
    invoices.collect(session, invoice, outcome=outcome, settles_at=session.now + DEBIT_SECONDS)
    if subscription is not None:
        _follow(session, subscription, invoice, outcome)


def retry(session: AccountStore, invoice: Json) -> None:
    """Another try at an invoice that could not be collected."""
    collect(session, invoice, outcome=_outcome(session, invoice))


def pay(session: AccountStore, invoice: Json, *, method: str | None, elsewhere: bool) -> None:
    """Somebody pays a draft or an open invoice now, by the method named or the usual one, or past Stripe.

    Raises CardDeclined; the failed try is kept."""
    if invoice["status"] == "draft":
        invoices.finalize(session, invoice)
    if invoice["status"] not in ("open", "uncollectible"):
        raise RequestRefused("Invoice is already paid" if invoice["status"] == "paid" else _not_open(invoice))
    subscription = invoices.subscription_of(session, invoice)
    if elsewhere:
        invoices.close_as_paid_elsewhere(session, invoice)
        if subscription is not None:
            _follow(session, subscription, invoice, PaymentOutcome.SUCCEEDED)
        return
    outcome = outcome_by(method) if method else _outcome(session, invoice)
    if outcome is PaymentOutcome.SUCCEEDED and method and subscription is not None:
        subscriptions.set_card_fails(session, subscription, False)
    collect(session, invoice, outcome=outcome)
    if outcome is PaymentOutcome.FAILED and invoice["amount_due"]:
        raise CardDeclined(keeps_work=True)


def settle_debit(session: AccountStore, intent: Json, *, succeeds: bool) -> None:
    """The bank answers a debit that was under way; its invoice and subscription follow."""
    payments.settle(session, intent, succeeds=succeeds)
    invoice = invoices.invoice_of(session, intent)
    if invoice is None:
        return
    outcome = PaymentOutcome.SUCCEEDED if succeeds else PaymentOutcome.FAILED
    if succeeds:
        invoices.close_as_paid(session, invoice)
    else:
        invoices.fail_debit(session, invoice)
    subscription = invoices.subscription_of(session, invoice)
    if subscription is not None:
        _follow(session, subscription, invoice, outcome)


def debit_of(session: AccountStore, subscription: Json) -> Json:
    """The intent of the subscription's debit that is under way."""
    for invoice in invoices.open_invoices(session, subscription["id"]):
        intent = invoices.intent_of(session, invoice) if invoice["amount_due"] else None
        if intent is not None and intent["status"] == "processing":
            return intent
    raise RequestRefused(f"The subscription {subscription['id']} has no debit under way.")


def become_overdue(session: AccountStore, invoice: Json) -> None:
    """The day by which a sent invoice was to be paid is over: its subscription is past due."""
    invoices.announce_overdue(session, invoice)
    subscription = invoices.subscription_of(session, invoice)
    if subscription is not None and subscription["status"] == "active":
        subscriptions.update(session, subscription, status="past_due")


def recover(session: AccountStore, subscription: Json) -> None:
    """The customer updates the card: everything owed is paid."""
    owed = invoices.open_invoices(session, subscription["id"])
    if subscription["status"] != "past_due" or not owed:
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}; only a past_due one "
            f"recovers."
        )
    subscriptions.set_card_fails(session, subscription, False)
    for invoice in owed:
        collect(session, invoice, outcome=PaymentOutcome.SUCCEEDED)


def _follow(session: AccountStore, subscription: Json, invoice: Json, outcome: PaymentOutcome) -> None:
    status = subscription["status"]
    if outcome is PaymentOutcome.FAILED:
        if status == "active":
            subscriptions.update(session, subscription, status="past_due")
        if invoice["attempt_count"] > len(invoices.RETRY_DAYS) and status in ("active", "past_due"):
            subscriptions.cancel(session, subscription, reason="payment_failed")
    elif status == "incomplete":
        subscriptions.activate(session, subscription)
    elif status == "paused":
        subscriptions.complete_resumption(session, subscription, invoice)
    elif (
        outcome is PaymentOutcome.SUCCEEDED
        and status == "past_due"
        and not invoices.open_invoices(session, subscription["id"])
    ):
        subscriptions.update(session, subscription, status="active")


def _outcome(session: AccountStore, invoice: Json) -> PaymentOutcome:
    subscription = invoices.subscription_of(session, invoice)
    return outcome_of(subscription) if subscription else PaymentOutcome.SUCCEEDED


def _not_open(invoice: Json) -> str:
    return f"The invoice {invoice['id']} is {invoice['status']}, so it cannot be paid."
