"""A subscription's life, from its start in Checkout to its end."""

from __future__ import annotations

from typing import Any

from licenzy.stripe_sandbox.books import Books
from licenzy.stripe_sandbox.errors import Refused
from licenzy.stripe_sandbox.lifecycle import invoices, payments, periods
from licenzy.stripe_sandbox.lifecycle.payments import How
from licenzy.stripe_sandbox.shapes import subscriptions as shapes
from licenzy.stripe_sandbox.version import Json

LIVE = ("trialing", "active", "past_due")
ENDED = ("canceled", "incomplete_expired")


def start(
    books: Books, *, customer: str, lines: list[Json], data: Json, automatic_tax: bool, how: How
) -> Json:
    """What Checkout makes of a subscription session, with its first invoice.

    With something to pay, Stripe announces the subscription as `incomplete` and follows with an update to
    `active` once the payment is through: integrations that log Checkout's webhooks show that pair. With
    nothing to pay today (a trial, a free price) it is announced once, already `trialing` or `active`; Stripe
    changed that case in 2021."""
    recurring = [line for line in lines if line["price"]["recurring"]]
    subscription = shapes.subscription(
        books,
        customer=customer,
        lines=recurring,
        metadata=data.get("metadata") or {},
        description=data.get("description"),
        automatic_tax=automatic_tax,
        payment_method=None,
    )
    books.insert(subscription)
    trial_end = _trial_end(books, data)
    _set_first_period(books, subscription, trial_end)
    extra = [line for line in lines if not line["price"]["recurring"]]
    pays_now = any(line["amount_total"] for line in lines)
    status = "incomplete" if pays_now else "trialing" if trial_end else "active"
    books.change(subscription, status=status)
    books.emit("customer.subscription.created", subscription)
    today = {"start": books.now, "end": books.now}
    invoice = invoices.draw_up(
        books,
        subscription,
        reason="subscription_create",
        ended_period=today,
        free=trial_end is not None,
        extra=extra,
    )
    invoices.finalize(books, invoice)
    if pays_now and how is How.PAY:
        _pay_first(books, subscription, invoice)
    else:
        invoices.collect(books, invoice, how=how)
    return subscription


def activate(books: Books, subscription: Json) -> None:
    """The first payment is through."""
    status = "trialing" if subscription["trial_end"] and subscription["trial_end"] > books.now else "active"
    _update(books, subscription, status=status)


def renew(books: Books, subscription: Json, *, how: How = How.PAY) -> Json:
    """The next period begins, right after the current one, and its invoice is collected, or fails to be.

    The account's clock is not moved: asked for early, the renewal comes early. Answers the invoice.
    """
    if subscription["status"] not in LIVE:
        raise Refused(
            f"The subscription {subscription['id']} is {subscription['status']}, so it does not renew."
        )
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= period_end(subscription):
        raise Refused(f"The subscription {subscription['id']} ends with its period, so it does not renew.")
    first = subscription["items"]["data"][0]
    ended = {"start": first["current_period_start"], "end": first["current_period_end"]}
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    _update(books, subscription, status=status, items=_next_period(subscription))
    invoice = invoices.draw_up(books, subscription, reason="subscription_cycle", ended_period=ended)
    if subscription["pause_collection"]:
        invoices.void(books, invoice)
        return invoice
    invoices.finalize(books, invoice)
    collect(books, subscription, invoice, how=how)
    return invoice


def collect(books: Books, subscription: Json, invoice: Json, *, how: How) -> None:
    """Try to collect an invoice, and let the subscription follow: past due, active again, or canceled when
    given up."""
    how = How.PAY if invoice["amount_due"] == 0 else how
    if how is How.DECLINE:
        books.change(subscription, _card_fails=True)
    invoices.collect(books, invoice, how=how)
    if how is How.DECLINE and subscription["status"] == "active":
        _update(books, subscription, status="past_due")
    if how is How.DECLINE and invoice["next_payment_attempt"] is None:
        cancel(books, subscription, reason="payment_failed")
    owes_nothing = not invoices.open_invoices(books, subscription["id"])
    if how is How.PAY and subscription["status"] == "past_due" and owes_nothing:
        _update(books, subscription, status="active")


def recover(books: Books, subscription: Json) -> None:
    """The customer mends the card: everything owed is paid."""
    owed = invoices.open_invoices(books, subscription["id"])
    if subscription["status"] != "past_due" or not owed:
        raise Refused(
            f"The subscription {subscription['id']} is {subscription['status']}; only a past_due one "
            f"recovers."
        )
    books.change(subscription, _card_fails=False)
    for invoice in owed:
        collect(books, subscription, invoice, how=How.PAY)


def cancel(
    books: Books, subscription: Json, *, reason: str = "cancellation_requested", details: Json | None = None
) -> None:
    """It ends now. `reason` is null for one whose end was scheduled and is told already."""
    if subscription["status"] in ENDED:
        raise Refused(f"No such subscription: '{subscription['id']}'", code="resource_missing", param="id")
    held = subscription["cancellation_details"]
    books.change(
        subscription,
        status="canceled",
        canceled_at=subscription["canceled_at"] or books.now,
        ended_at=books.now,
        cancellation_details={**held, **(details or {}), "reason": held["reason"] or reason},
    )
    for invoice in invoices.open_invoices(books, subscription["id"]):
        books.change(invoice, auto_advance=False, next_payment_attempt=None)
    books.emit("customer.subscription.deleted", subscription)


def schedule_cancel(
    books: Books, subscription: Json, *, at: int | None, says_period_end: bool, details: Json | None = None
) -> None:
    """It will end at `at`, or with its period. `says_period_end` sets the flag `cancel_at_period_end` too:
    Stripe's API does so when asked with that flag, while its customer portal sets only `cancel_at`."""
    _require_running(subscription)
    _update(
        books,
        subscription,
        cancel_at=at or period_end(subscription),
        cancel_at_period_end=says_period_end,
        canceled_at=books.now,
        cancellation_details={
            **subscription["cancellation_details"],
            **(details or {}),
            "reason": "cancellation_requested",
        },
    )


def keep(books: Books, subscription: Json) -> None:
    """A scheduled end is called off."""
    _require_running(subscription)
    _update(
        books,
        subscription,
        cancel_at=None,
        cancel_at_period_end=False,
        canceled_at=None,
        cancellation_details={"comment": None, "feedback": None, "reason": None},
    )


def pause(books: Books, subscription: Json) -> None:
    """Status `paused`, which is not `pause_collection`: nothing is billed and nothing renews until it
    resumes."""
    if subscription["status"] not in ("active", "trialing"):
        raise Refused(
            f"The subscription {subscription['id']} is {subscription['status']}, so it cannot be paused."
        )
    _update(books, subscription, status="paused")
    books.emit("customer.subscription.paused", subscription)


def resume(books: Books, subscription: Json) -> None:
    """As Stripe does by default, the billing cycle starts anew now, with an invoice that is paid."""
    if subscription["status"] != "paused":
        raise Refused(
            f"The subscription {subscription['id']} is {subscription['status']}, so there is nothing to "
            f"resume."
        )
    ended = {"start": subscription["items"]["data"][0]["current_period_start"], "end": books.now}
    items = _period_from_now(books, subscription["items"])
    previous = books.change(subscription, status="active", billing_cycle_anchor=books.now, items=items)
    invoice = invoices.draw_up(books, subscription, reason="subscription_update", ended_period=ended)
    invoices.finalize(books, invoice)
    invoices.collect(books, invoice, how=How.PAY)
    books.emit("customer.subscription.updated", subscription, previous)
    books.emit("customer.subscription.resumed", subscription)


def begin_anew(books: Books, subscription: Json, *, items: Json) -> None:
    """A new period with these items begins now, and its invoice is collected as renewals are."""
    ended = {"start": subscription["items"]["data"][0]["current_period_start"], "end": books.now}
    _update(books, subscription, billing_cycle_anchor=books.now, items=_period_from_now(books, items))
    invoice = invoices.draw_up(books, subscription, reason="subscription_update", ended_period=ended)
    invoices.finalize(books, invoice)
    collect(books, subscription, invoice, how=How.DECLINE if subscription.get("_card_fails") else How.PAY)


def expire_incomplete(books: Books, subscription: Json) -> None:
    """The first payment did not come within 23 hours."""
    for invoice in invoices.open_invoices(books, subscription["id"]):
        invoices.void(books, invoice)
    _update(books, subscription, status="incomplete_expired", ended_at=books.now)


def warn_of_trial_end(books: Books, subscription: Json) -> None:
    books.change(subscription, _trial_warned=True)
    books.emit("customer.subscription.trial_will_end", subscription)


def update(books: Books, subscription: Json, **changes: Any) -> None:
    """Fields that need nothing more than being told."""
    _update(books, subscription, **changes)


def period_end(subscription: Json) -> int:
    return int(subscription["items"]["data"][0]["current_period_end"])


def _pay_first(books: Books, subscription: Json, invoice: Json) -> None:
    """The charge first, then the subscription's update, then the invoice: the order that Stripe's logs show
    most."""
    payments.attempt(books, invoices.intent_of(books, invoice), how=How.PAY)
    activate(books, subscription)
    invoices.close_as_paid(books, invoice)


def _period_from_now(books: Books, items: Json) -> Json:
    end = periods.end_after(books.now, items["data"][0]["price"]["recurring"], books.now)
    moved = [{**i, "current_period_start": books.now, "current_period_end": end} for i in items["data"]]
    return {**items, "data": moved}


def _set_first_period(books: Books, subscription: Json, trial_end: int | None) -> None:
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    end = trial_end or periods.end_after(books.now, recurring, books.now)
    books.change(
        subscription,
        items=_items_with_period(subscription, books.now, end),
        trial_end=trial_end,
        trial_start=books.now if trial_end else None,
        billing_cycle_anchor=trial_end or books.now,
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


def _trial_end(books: Books, data: Json) -> int | None:
    if "trial_end" in data:
        return int(data["trial_end"])
    return books.now + data["trial_period_days"] * 86400 if data.get("trial_period_days") else None


def _require_running(subscription: Json) -> None:
    if subscription["status"] in ENDED:
        raise Refused(
            f"A canceled subscription can only update its cancellation_details and metadata: "
            f"{subscription['id']}."
        )


def _update(books: Books, subscription: Json, **changes: Any) -> None:
    previous = books.change(subscription, **changes)
    if previous:
        books.emit("customer.subscription.updated", subscription, previous)
