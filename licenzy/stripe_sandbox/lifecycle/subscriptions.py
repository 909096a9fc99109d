"""The state of a subscription: how it pauses, ends and is kept. Its periods are those of `cycles`."""

from __future__ import annotations

from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.due import next_renewal
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.lifecycle import invoices
from licenzy.stripe_sandbox.version import Json

ENDED = ("canceled", "incomplete_expired")


def activate(session: AccountStore, subscription: Json) -> None:
    """The first payment is through, or a bank debit for it is under way."""
    status = "trialing" if subscription["trial_end"] and subscription["trial_end"] > session.now else "active"
    update(session, subscription, status=status)


def set_card_fails(session: AccountStore, subscription: Json, declined: bool) -> None:
    """Whether the next payments of this subscription are declined. A card that works is there, too."""
    has_card = subscription.get("_has_card", True) or not declined
    session.change(subscription, _card_fails=declined, _has_card=has_card)


def cancel(
    session: AccountStore,
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
    invoices.stop_collecting(session, subscription["id"])
    session.emit("customer.subscription.deleted", subscription)


def schedule_cancel(
    session: AccountStore,
    subscription: Json,
    *,
    at: int | None,
    set_period_end_flag: bool,
    details: Json | None = None,
) -> None:
    """It will end at `at`, or with its period. `set_period_end_flag` sets the flag `cancel_at_period_end`
    too: Stripe's API does so when asked with that flag, while its customer portal sets only `cancel_at`."""
    _require_running(subscription)
    update(
        session,
        subscription,
        cancel_at=at or next_renewal(subscription),
        cancel_at_period_end=set_period_end_flag,
        canceled_at=session.now,
        cancellation_details={
            **subscription["cancellation_details"],
            **(details or {}),
            "reason": "cancellation_requested",
        },
    )


def undo_cancel(session: AccountStore, subscription: Json) -> None:
    """A scheduled end is called off."""
    _require_running(subscription)
    update(
        session,
        subscription,
        cancel_at=None,
        cancel_at_period_end=False,
        canceled_at=None,
        cancellation_details={"comment": None, "feedback": None, "reason": None},
    )


def pause(session: AccountStore, subscription: Json) -> None:
    """Status `paused`, which is not `pause_collection`: nothing is billed and nothing renews until it
    resumes."""
    if subscription["status"] not in ("active", "trialing"):
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}, so it cannot be paused."
        )
    update(session, subscription, status="paused")
    session.emit("customer.subscription.paused", subscription)


def complete_resumption(session: AccountStore, subscription: Json, invoice: Json) -> None:
    """The invoice that a paused subscription was to be resumed with is paid."""
    resumption = subscription.get("_resumption")
    if resumption is None or resumption["invoice"] != invoice["id"]:
        return
    session.change(subscription, _resumption=None)
    update(session, subscription, **resumption["changes"])
    session.emit("customer.subscription.resumed", subscription)


def give_up_resumption(session: AccountStore, subscription: Json) -> None:
    """The invoice that it was to be resumed with was not paid within 23 hours: it stays paused."""
    invoice = session.get("invoice", subscription["_resumption"]["invoice"], param="invoice")
    session.change(subscription, _resumption=None)
    invoices.void(session, invoice)


def expire_incomplete(session: AccountStore, subscription: Json) -> None:
    """The first payment did not come within 23 hours."""
    for invoice in invoices.open_invoices(session, subscription["id"]):
        invoices.void(session, invoice)
    update(session, subscription, status="incomplete_expired", ended_at=session.now)


def announce_trial_end(session: AccountStore, subscription: Json) -> None:
    """The trial ends in three days or less."""
    session.change(subscription, _trial_warned=True)
    session.emit("customer.subscription.trial_will_end", subscription)


def update(session: AccountStore, subscription: Json, **changes: Any) -> None:
    """Change fields, with an event where anything differs."""
    previous = session.change(subscription, **changes)
    if previous:
        session.emit("customer.subscription.updated", subscription, previous)


def _require_running(subscription: Json) -> None:
    if subscription["status"] in ENDED:
        raise RequestRefused(
            f"A canceled subscription can only update its cancellation_details and metadata: "
            f"{subscription['id']}."
        )
