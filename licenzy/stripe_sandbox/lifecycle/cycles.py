"""The billing periods of subscriptions: how they begin, follow each other and are invoiced."""

from __future__ import annotations

from dataclasses import dataclass, field

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.due import INCOMPLETE_EXPIRY_SECONDS, LIVE, next_renewal
from licenzy.stripe_sandbox.errors import CardDeclined, RequestRefused
from licenzy.stripe_sandbox.lifecycle import (
    collection,
    invoice_items,
    invoices,
    payments,
    periods,
    prorations,
    subscriptions,
)
from licenzy.stripe_sandbox.lifecycle.payment_methods import outcome_of
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes.catalog import amount_of
from licenzy.stripe_sandbox.shapes.invoice_lines import InvoiceEntry
from licenzy.stripe_sandbox.version import Json


@dataclass(frozen=True)
class SubscriptionStart:
    """How a subscription begins. `items` and `extra` are prices with their quantity, recurring and not."""

    items: list[Json]
    extra: list[Json] = field(default_factory=list)
    trial_end: int | None = None
    outcome: PaymentOutcome | None = PaymentOutcome.SUCCEEDED
    """None to leave the first invoice for somebody to pay."""
    settles_at: int | None = None
    """When a bank debit settles by itself."""
    refuse_decline: bool = False


def start(session: AccountStore, subscription: Json, how: SubscriptionStart) -> None:
    """Begin a subscription that was not stored yet, with its first invoice.

    With something to pay, Stripe announces the subscription as `incomplete` and follows with an update to
    `active` once the payment is through, or its bank debit under way. With nothing to pay today (a trial, a
    free price) or an invoice that is sent, it is announced once, already `trialing` or `active`."""
    session.insert(subscription)
    _set_first_period(session, subscription, how.trial_end)
    sent = subscription["collection_method"] == "send_invoice"
    pays_now = any(amount_of(extra["price"], extra["quantity"]) for extra in how.extra)
    if how.trial_end is None:
        pays_now |= any(amount_of(item["price"], item["quantity"]) for item in how.items)
    pays_now &= not sent
    if pays_now and how.refuse_decline and how.outcome is PaymentOutcome.FAILED:
        raise CardDeclined(keeps_work=False)
    status = "incomplete" if pays_now else "trialing" if how.trial_end else "active"
    session.change(subscription, status=status)
    session.emit("customer.subscription.created", subscription)
    add_extra(session, subscription, how.extra)
    invoice = invoices.create_for_subscription(
        session,
        subscription,
        reason="subscription_create",
        ended_period={"start": session.now, "end": session.now},
        items=subscription["items"]["data"],
        free=how.trial_end is not None,
    )
    if sent and invoice["total"]:
        return  # Finalized and sent when its hour as a draft is over.
    invoices.finalize(session, invoice)
    if pays_now:
        _pay_first(session, subscription, invoice, how)
    else:
        invoices.collect(session, invoice, outcome=PaymentOutcome.SUCCEEDED)


def roll(session: AccountStore, subscription: Json) -> Json:
    """The next period of the items whose period is over begins; answers its invoice, a draft.

    The account's clock is not moved: asked for early, the period begins early."""
    if subscription["status"] not in LIVE:
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}, so it does not renew."
        )
    end = next_renewal(subscription)
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= end:
        raise RequestRefused(
            f"The subscription {subscription['id']} ends with its period, so it does not renew."
        )
    over = [item for item in subscription["items"]["data"] if item["current_period_end"] == end]
    ended = {"start": min(item["current_period_start"] for item in over), "end": end}
    anchor, named = subscription["billing_cycle_anchor"], {item["id"] for item in over}
    moved = [
        with_period(i, end, periods.end_after(anchor, i["price"]["recurring"], end))
        if i["id"] in named
        else i
        for i in subscription["items"]["data"]
    ]
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    invoice = invoices.create_for_subscription(
        session,
        subscription,
        reason="subscription_cycle",
        ended_period=ended,
        items=[item for item in moved if item["id"] in named],
        changes={"status": status, "items": {**subscription["items"], "data": moved}},
    )
    _keep_from_collection(session, subscription, invoice)
    return invoice


def turn(session: AccountStore, subscription: Json) -> None:
    """What happens when a period is over: the next begins, unless a trial ends without a card."""
    at_end = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if subscription["status"] == "trialing" and not subscription.get("_has_card", True):
        if at_end == "cancel":
            subscriptions.cancel(session, subscription)
            return
        if at_end == "pause":
            subscriptions.pause(session, subscription)
            return
    roll(session, subscription)


def renew(
    session: AccountStore, subscription: Json, *, outcome: PaymentOutcome = PaymentOutcome.SUCCEEDED
) -> Json:
    """Roll, and collect at once, without the hour that the invoice is a draft. Answers the invoice."""
    invoice = roll(session, subscription)
    if invoice["status"] == "draft" and invoice["auto_advance"]:
        collection.collect_now(session, invoice, outcome=outcome)
    return invoice


def resume(session: AccountStore, subscription: Json) -> None:
    """As Stripe does by default, the billing cycle starts anew now, with an invoice that is paid.

    Without a card that works the invoice stays open and the subscription paused, until it is paid."""
    if subscription["status"] != "paused":
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}, so there is nothing to "
            f"resume."
        )
    if subscription.get("_resumption"):
        raise RequestRefused(
            f"The subscription {subscription['id']} is resumed once its open invoice is paid."
        )
    ended = _running_period(session, subscription)
    items = from_now(session, subscription["items"])
    last = subscription["latest_invoice"]
    if outcome_of(subscription) is PaymentOutcome.FAILED:
        _wait_for_payment(session, subscription, items, ended)
        return
    previous = session.change(subscription, status="active", billing_cycle_anchor=session.now, items=items)
    invoice = invoices.create_for_subscription(
        session, subscription, reason="subscription_update", ended_period=ended, items=items["data"]
    )
    invoices.finalize(session, invoice)
    invoices.collect(session, invoice, outcome=PaymentOutcome.SUCCEEDED)
    session.emit("customer.subscription.updated", subscription, {**previous, "latest_invoice": last})
    session.emit("customer.subscription.resumed", subscription)


def resume_with_card(session: AccountStore, subscription: Json) -> None:
    """The customer enters a card that works, and resumes; an invoice that waits for the card is paid."""
    if subscription["status"] == "paused":
        subscriptions.set_card_fails(session, subscription, False)
    waiting = subscription.get("_resumption")
    if waiting:
        invoice = session.get("invoice", waiting["invoice"], param="invoice")
        collection.collect(session, invoice, outcome=PaymentOutcome.SUCCEEDED)
    else:
        resume(session, subscription)


def _wait_for_payment(session: AccountStore, subscription: Json, items: Json, ended: Json) -> None:
    invoice = invoices.create_for_subscription(
        session, subscription, reason="subscription_update", ended_period=ended, items=items["data"]
    )
    invoices.finalize(session, invoice)
    resumed = {"status": "active", "billing_cycle_anchor": session.now, "items": items}
    session.change(
        subscription,
        _resumption={
            "invoice": invoice["id"],
            "expires_at": session.now + INCOMPLETE_EXPIRY_SECONDS,
            "changes": resumed,
        },
    )
    invoices.collect(session, invoice, outcome=PaymentOutcome.FAILED)


def restart(session: AccountStore, subscription: Json, *, items: Json, credits_: list[InvoiceEntry]) -> None:
    """A new period with these items begins now. Its invoice takes what is credited for the old one, and is
    collected at once."""
    add_entries(session, subscription, credits_)
    moved = from_now(session, items)
    _invoice_now(
        session,
        subscription,
        items=moved["data"],
        changes={"billing_cycle_anchor": session.now, "items": moved},
    )


def invoice_pending(session: AccountStore, subscription: Json, *, changes: Json | None = None) -> None:
    """Invoice at once what waits for the subscription's next invoice, and collect it. `changes` are what the
    subscription changes with it."""
    _invoice_now(session, subscription, items=[], changes=changes)


def credit_unused(session: AccountStore, subscription: Json) -> None:
    """Let what is left of the present periods be credited on the next invoice."""
    unused = [prorations.unused(item, at=session.now) for item in subscription["items"]["data"]]
    if subscription["status"] in ("active", "past_due"):
        add_entries(session, subscription, [entry for entry in unused if entry.amount])


def add_entries(session: AccountStore, subscription: Json, entries: list[InvoiceEntry]) -> None:
    """Let the entries wait for the subscription's next invoice."""
    for entry in entries:
        invoice_items.add(
            session,
            entry,
            customer=subscription["customer"],
            currency=subscription["currency"],
            subscription=subscription["id"],
            classic=(subscription.get("billing_mode") or {}).get("type") == "classic",
        )


def from_now(session: AccountStore, items: Json) -> Json:
    """The items with a period that begins now, each of its own length."""
    now = session.now
    moved = [with_period(i, now, periods.end_after(now, i["price"]["recurring"], now)) for i in items["data"]]
    return {**items, "data": moved}


def with_period(item: Json, start: int, end: int) -> Json:
    """The item in another period."""
    return {**item, "current_period_start": start, "current_period_end": end}


def _pay_first(session: AccountStore, subscription: Json, invoice: Json, how: SubscriptionStart) -> None:
    """The charge first, then the subscription's update, then the invoice: the order that Stripe's logs show
    most."""
    if how.outcome is None:
        return
    if how.outcome is PaymentOutcome.FAILED:
        collection.collect(session, invoice, outcome=how.outcome)
    elif how.outcome is PaymentOutcome.SUCCEEDED:
        payments.attempt(session, invoices.intent_of(session, invoice), outcome=how.outcome)
        subscriptions.activate(session, subscription)
        invoices.close_as_paid(session, invoice)
    else:
        invoices.collect(session, invoice, outcome=how.outcome, settles_at=how.settles_at)
        subscriptions.activate(session, subscription)


def _keep_from_collection(session: AccountStore, subscription: Json, invoice: Json) -> bool:
    """What `pause_collection` makes of a new invoice; whether it keeps it from being collected."""
    paused = subscription["pause_collection"]
    if not paused:
        return False
    if paused["behavior"] == "keep_as_draft":
        invoices.keep_as_draft(session, invoice)
    elif paused["behavior"] == "mark_uncollectible":
        invoices.finalize(session, invoice)
        invoices.mark_uncollectible(session, invoice)
    else:
        invoices.void(session, invoice)
    return True


def _invoice_now(
    session: AccountStore, subscription: Json, *, items: list[Json], changes: Json | None
) -> None:
    invoice = invoices.create_for_subscription(
        session,
        subscription,
        reason="subscription_update",
        ended_period=_running_period(session, subscription),
        items=items,
        changes=changes,
    )
    if not _keep_from_collection(session, subscription, invoice):
        collection.collect_now(session, invoice, outcome=outcome_of(subscription))


def _running_period(session: AccountStore, subscription: Json) -> Json:
    """The period that an invoice in the middle of it closes."""
    return {
        "start": min(item["current_period_start"] for item in subscription["items"]["data"]),
        "end": session.now,
    }


def add_extra(session: AccountStore, subscription: Json, extra: list[Json]) -> None:
    """Let one-time prices with their quantity, such as a setup fee, wait for the next invoice."""
    entries = [
        InvoiceEntry(
            price=line["price"],
            quantity=line["quantity"],
            amount=amount_of(line["price"], line["quantity"]),
            start=session.now,
            end=session.now,
            description=line["price"]["nickname"],
        )
        for line in extra
    ]
    add_entries(session, subscription, entries)


def _set_first_period(session: AccountStore, subscription: Json, trial_end: int | None) -> None:
    items = subscription["items"]
    if trial_end:
        items = {**items, "data": [with_period(item, session.now, trial_end) for item in items["data"]]}
    session.change(
        subscription,
        items=items if trial_end else from_now(session, items),
        trial_end=trial_end,
        trial_start=session.now if trial_end else None,
        billing_cycle_anchor=trial_end or session.now,
    )
