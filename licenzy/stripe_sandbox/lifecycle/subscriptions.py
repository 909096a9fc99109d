"""A subscription's life, from its start in Checkout to its end."""

from __future__ import annotations

from typing import Any

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.lifecycle import invoices, payments, periods
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes import subscriptions as shapes
from licenzy.stripe_sandbox.version import Json

LIVE = ("trialing", "active", "past_due")
ENDED = ("canceled", "incomplete_expired")


def start(
    session: AccountSession,
    *,
    customer: str,
    lines: list[Json],
    data: Json,
    automatic_tax: bool,
    outcome: PaymentOutcome,
) -> Json:
    """What Checkout makes of a subscription session, with its first invoice.

    With something to pay, Stripe announces the subscription as `incomplete` and follows with an update to
    `active` once the payment is through: integrations that log Checkout's webhooks show that pair. With
    nothing to pay today (a trial, a free price) it is announced once, already `trialing` or `active`; Stripe
    changed that case in 2021."""
    recurring = [line for line in lines if line["price"]["recurring"]]
    subscription = shapes.subscription(
        session,
        customer=customer,
        lines=recurring,
        metadata=data.get("metadata") or {},
        description=data.get("description"),
        automatic_tax=automatic_tax,
        payment_method=None,
    )
    session.insert(subscription)
    trial_end = _trial_end(session, data)
    _set_first_period(session, subscription, trial_end)
    extra = [line for line in lines if not line["price"]["recurring"]]
    pays_now = any(line["amount_total"] for line in lines)
    status = "incomplete" if pays_now else "trialing" if trial_end else "active"
    session.change(subscription, status=status)
    session.emit("customer.subscription.created", subscription)
    today = {"start": session.now, "end": session.now}
    invoice = invoices.create_draft(
        session,
        subscription,
        reason="subscription_create",
        ended_period=today,
        free=trial_end is not None,
        extra=extra,
    )
    invoices.finalize(session, invoice)
    if pays_now and outcome is PaymentOutcome.PAY:
        _pay_first(session, subscription, invoice)
    else:
        invoices.collect(session, invoice, outcome=outcome)
    return subscription


def activate(session: AccountSession, subscription: Json) -> None:
    """The first payment is through."""
    status = "trialing" if subscription["trial_end"] and subscription["trial_end"] > session.now else "active"
    _update(session, subscription, status=status)


def renew(
    session: AccountSession, subscription: Json, *, outcome: PaymentOutcome = PaymentOutcome.PAY
) -> Json:
    """The next period begins, right after the current one, and its invoice is collected, or fails to be.

    The account's clock is not moved: asked for early, the renewal comes early. Answers the invoice.
    """
    if subscription["status"] not in LIVE:
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}, so it does not renew."
        )
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= period_end(subscription):
        raise RequestRefused(
            f"The subscription {subscription['id']} ends with its period, so it does not renew."
        )
    first = subscription["items"]["data"][0]
    ended = {"start": first["current_period_start"], "end": first["current_period_end"]}
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    _update(session, subscription, status=status, items=_next_period(subscription))
    invoice = invoices.create_draft(session, subscription, reason="subscription_cycle", ended_period=ended)
    if subscription["pause_collection"]:
        invoices.void(session, invoice)
        return invoice
    invoices.finalize(session, invoice)
    collect(session, subscription, invoice, outcome=outcome)
    return invoice


def collect(session: AccountSession, subscription: Json, invoice: Json, *, outcome: PaymentOutcome) -> None:
    """Try to collect an invoice, and let the subscription follow: past due, active again, or canceled when
    given up."""
    outcome = PaymentOutcome.PAY if invoice["amount_due"] == 0 else outcome
    if outcome is PaymentOutcome.DECLINE:
        set_card_fails(session, subscription, True)
    invoices.collect(session, invoice, outcome=outcome)
    if outcome is PaymentOutcome.DECLINE and subscription["status"] == "active":
        _update(session, subscription, status="past_due")
    if outcome is PaymentOutcome.DECLINE and invoice["next_payment_attempt"] is None:
        cancel(session, subscription, reason="payment_failed")
    owes_nothing = not invoices.open_invoices(session, subscription["id"])
    if outcome is PaymentOutcome.PAY and subscription["status"] == "past_due" and owes_nothing:
        _update(session, subscription, status="active")


def next_outcome(subscription: Json) -> PaymentOutcome:
    """How the next payment goes: after a declined one, the card is declined until `recover`."""
    return PaymentOutcome.DECLINE if subscription.get("_card_fails") else PaymentOutcome.PAY


def set_card_fails(session: AccountSession, subscription: Json, declined: bool) -> None:
    """Whether the next payments of this subscription are declined."""
    session.change(subscription, _card_fails=declined)


def recover(session: AccountSession, subscription: Json) -> None:
    """The customer updates the card: everything owed is paid."""
    owed = invoices.open_invoices(session, subscription["id"])
    if subscription["status"] != "past_due" or not owed:
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}; only a past_due one "
            f"recovers."
        )
    set_card_fails(session, subscription, False)
    for invoice in owed:
        collect(session, subscription, invoice, outcome=PaymentOutcome.PAY)


def cancel(
    session: AccountSession,
    subscription: Json,
    *,
    reason: str = "cancellation_requested",
    details: Json | None = None,
) -> None:
    """It ends now. `reason` counts only where none was given before, when the end was scheduled."""
    if subscription["status"] in ENDED:
        raise RequestRefused(
            f"No such subscription: '{subscription['id']}'", code="resource_missing", param="id"
        )
    current = subscription["cancellation_details"]
    session.change(
        subscription,
        status="canceled",
        canceled_at=subscription["canceled_at"] or session.now,
        ended_at=session.now,
        cancellation_details={**current, **(details or {}), "reason": current["reason"] or reason},
    )
    for invoice in invoices.open_invoices(session, subscription["id"]):
        session.change(invoice, auto_advance=False, next_payment_attempt=None)
    session.emit("customer.subscription.deleted", subscription)


def schedule_cancel(
    session: AccountSession,
    subscription: Json,
    *,
    at: int | None,
    set_period_end_flag: bool,
    details: Json | None = None,
) -> None:
    """It will end at `at`, or with its period. `says_period_end` sets the flag `cancel_at_period_end` too:
    Stripe's API does so when asked with that flag, while its customer portal sets only `cancel_at`."""
    _require_running(subscription)
    _update(
        session,
        subscription,
        cancel_at=at or period_end(subscription),
        cancel_at_period_end=set_period_end_flag,
        canceled_at=session.now,
        cancellation_details={
            **subscription["cancellation_details"],
            **(details or {}),
            "reason": "cancellation_requested",
        },
    )


def undo_cancel(session: AccountSession, subscription: Json) -> None:
    """A scheduled end is called off."""
    _require_running(subscription)
    _update(
        session,
        subscription,
        cancel_at=None,
        cancel_at_period_end=False,
        canceled_at=None,
        cancellation_details={"comment": None, "feedback": None, "reason": None},
    )


def pause(session: AccountSession, subscription: Json) -> None:
    """Status `paused`, which is not `pause_collection`: nothing is billed and nothing renews until it
    resumes."""
    if subscription["status"] not in ("active", "trialing"):
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}, so it cannot be paused."
        )
    _update(session, subscription, status="paused")
    session.emit("customer.subscription.paused", subscription)


def resume(session: AccountSession, subscription: Json) -> None:
    """As Stripe does by default, the billing cycle starts anew now, with an invoice that is paid."""
    if subscription["status"] != "paused":
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}, so there is nothing to "
            f"resume."
        )
    ended = {"start": subscription["items"]["data"][0]["current_period_start"], "end": session.now}
    items = _period_from_now(session, subscription["items"])
    previous = session.change(subscription, status="active", billing_cycle_anchor=session.now, items=items)
    invoice = invoices.create_draft(session, subscription, reason="subscription_update", ended_period=ended)
    invoices.finalize(session, invoice)
    invoices.collect(session, invoice, outcome=PaymentOutcome.PAY)
    session.emit("customer.subscription.updated", subscription, previous)
    session.emit("customer.subscription.resumed", subscription)


def restart_period(session: AccountSession, subscription: Json, *, items: Json) -> None:
    """A new period with these items begins now, and its invoice is collected as renewals are."""
    ended = {"start": subscription["items"]["data"][0]["current_period_start"], "end": session.now}
    _update(session, subscription, billing_cycle_anchor=session.now, items=_period_from_now(session, items))
    invoice = invoices.create_draft(session, subscription, reason="subscription_update", ended_period=ended)
    invoices.finalize(session, invoice)
    collect(
        session,
        subscription,
        invoice,
        outcome=next_outcome(subscription),
    )


def expire_incomplete(session: AccountSession, subscription: Json) -> None:
    """The first payment did not come within 23 hours."""
    for invoice in invoices.open_invoices(session, subscription["id"]):
        invoices.void(session, invoice)
    _update(session, subscription, status="incomplete_expired", ended_at=session.now)


def announce_trial_end(session: AccountSession, subscription: Json) -> None:
    """The trial ends in three days or less."""
    session.change(subscription, _trial_warned=True)
    session.emit("customer.subscription.trial_will_end", subscription)


def update(session: AccountSession, subscription: Json, **changes: Any) -> None:
    """Change fields that need nothing but an event."""
    _update(session, subscription, **changes)


def period_end(subscription: Json) -> int:
    """When the current period ends, in seconds since 1970."""
    return int(subscription["items"]["data"][0]["current_period_end"])


def _pay_first(session: AccountSession, subscription: Json, invoice: Json) -> None:
    """The charge first, then the subscription's update, then the invoice: the order that Stripe's logs show
    most."""
    payments.attempt(session, invoices.intent_of(session, invoice), outcome=PaymentOutcome.PAY)
    activate(session, subscription)
    invoices.close_as_paid(session, invoice)


def _period_from_now(session: AccountSession, items: Json) -> Json:
    end = periods.end_after(session.now, items["data"][0]["price"]["recurring"], session.now)
    moved = [{**i, "current_period_start": session.now, "current_period_end": end} for i in items["data"]]
    return {**items, "data": moved}


def _set_first_period(session: AccountSession, subscription: Json, trial_end: int | None) -> None:
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    end = trial_end or periods.end_after(session.now, recurring, session.now)
    session.change(
        subscription,
        items=_items_with_period(subscription, session.now, end),
        trial_end=trial_end,
        trial_start=session.now if trial_end else None,
        billing_cycle_anchor=trial_end or session.now,
    )


def _next_period(subscription: Json) -> Json:
    start = period_end(subscription)
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    return _items_with_period(
        subscription, start, periods.end_after(subscription["billing_cycle_anchor"], recurring, start)
    )


def _items_with_period(subscription: Json, start: int, end: int) -> Json:
    moved = [
        {**i, "current_period_start": start, "current_period_end": end} for i in subscription["items"]["data"]
    ]
    return {**subscription["items"], "data": moved}


def _trial_end(session: AccountSession, data: Json) -> int | None:
    if "trial_end" in data:
        return int(data["trial_end"])
    return session.now + data["trial_period_days"] * 86400 if data.get("trial_period_days") else None


def _require_running(subscription: Json) -> None:
    if subscription["status"] in ENDED:
        raise RequestRefused(
            f"A canceled subscription can only update its cancellation_details and metadata: "
            f"{subscription['id']}."
        )


def _update(session: AccountSession, subscription: Json, **changes: Any) -> None:
    previous = session.change(subscription, **changes)
    if previous:
        session.emit("customer.subscription.updated", subscription, previous)
