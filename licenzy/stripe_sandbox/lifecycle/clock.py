"""The account's clock: as it moves, everything that falls due happens in the order of its due times."""

from __future__ import annotations

from collections.abc import Callable

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import set_offset
from licenzy.stripe_sandbox.due import LIVE, collection_resumes_at, next_due, next_renewal, trial_warning
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import checkout, collection, cycles, invoices, subscriptions
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes.account import test_clock
from licenzy.stripe_sandbox.shapes.invoices import DRAFT_SECONDS
from licenzy.stripe_sandbox.version import Json

MAX_ADVANCE_SECONDS = 2 * 366 * 86400


def advance(account_store: AccountStore, *, seconds: int) -> Json:
    """Move the clock forward and run what falls due, each at its own time; returns the clock.

    The event at the end is how a product learns the account's time: it is Stripe's own, with the time in its
    object."""
    require_movable(seconds)
    target = account_store.now + seconds
    run_due(account_store, until=target)
    return arrive(account_store, offset=account_store.account.offset + seconds, now=target)


def require_movable(seconds: int) -> None:
    """Refuse a way that is too long, or leads back."""
    if not 1 <= seconds <= MAX_ADVANCE_SECONDS:
        raise InvalidParameter(
            f"The clock moves forward by 1 to {MAX_ADVANCE_SECONDS} seconds at a time.", param="seconds"
        )


def arrive(account_store: AccountStore, *, offset: int, now: int) -> Json:
    """Set the clock `offset` seconds ahead of real time and announce it; returns the clock."""
    account_store.now = now
    set_offset(account_store.db, account_store.account, offset)
    clock = test_clock(account_store.account, frozen_time=now, target=None)
    account_store.emit("test_helpers.test_clock.ready", clock)
    return clock


def advance_to_renewal(account_store: AccountStore, subscription: Json, *, outcome: PaymentOutcome) -> None:
    """Move the clock past the end of the subscription's period, when its renewal is paid, or fails to be."""
    advance(account_store, seconds=prepare_renewal(account_store, subscription, outcome=outcome))


def prepare_renewal(account_store: AccountStore, subscription: Json, *, outcome: PaymentOutcome) -> int:
    """Decide how the next renewal ends; in how many seconds that is known, which is when its invoice is no
    longer a draft. Refuses one that does not renew."""
    if subscription["status"] not in LIVE:
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}: it does not renew."
        )
    if subscription["cancel_at"] is not None:
        raise RequestRefused(f"The subscription {subscription['id']} has an end, so it may not renew.")
    subscriptions.set_card_fails(account_store, subscription, outcome is PaymentOutcome.FAILED)
    return _seconds_until_paid(account_store, next_renewal(subscription))


def renewals(account_store: AccountStore) -> dict[str, int]:
    """In how many seconds each subscription has renewed next, by id; those that end before do not renew."""
    rows = account_store.db.execute(
        "SELECT id, json_extract(body, '$.cancel_at') AS cancel_at, (SELECT MIN(json_extract(value,"
        " '$.current_period_end')) FROM json_each(body, '$.items.data')) AS ends FROM objects WHERE scope = ?"
        " AND kind = 'subscription' AND json_extract(body, '$.status') IN ('trialing', 'active', 'past_due')",
        (account_store.account.scope,),
    )
    return {
        row["id"]: _seconds_until_paid(account_store, row["ends"])
        for row in rows
        if row["cancel_at"] is None or row["cancel_at"] > row["ends"]
    }


def _seconds_until_paid(account_store: AccountStore, period_end: int) -> int:
    return max(1, period_end + DRAFT_SECONDS - account_store.now)


def run_next(account_store: AccountStore, *, until: int, owner: str | None) -> str | None:
    """Run what is due next by `until`; the id of what it happened to, None when nothing is due.

    The events of what does not happen to `owner` are posted in the background.
    """
    body = account_store.next_due(until=until)
    if body is None:
        return None
    happens_to = _owner(account_store, body)
    account_store.lane = "" if happens_to == owner else happens_to
    _run(account_store, body)
    account_store.lane = ""
    return happens_to


def run_due(account_store: AccountStore, *, until: int, at_most: int | None = None) -> bool:
    """Run what is due by `until`, or so much of it; whether that was all. Afterwards the session's time is
    that of the last of it; it never goes back."""
    count = 0
    while at_most is None or count < at_most:
        body = account_store.next_due(until=until)
        if body is None:
            return True
        _run(account_store, body)
        count += 1
    return False


def _run(account_store: AccountStore, body: Json) -> None:
    at = next_due(body)
    assert at is not None
    account_store.now = max(account_store.now, at)
    _ACTS[body["object"]](account_store, body, at)
    account_store.forget()


def _owner(account_store: AccountStore, body: Json) -> str:
    """The id of the subscription or session that it happens to, or its own."""
    invoice = invoices.invoice_of(account_store, body) if body["object"] == "payment_intent" else body
    if invoice is not None and invoice["object"] == "invoice":
        subscription = invoices.subscription_of(account_store, invoice)
        return str((subscription or invoice)["id"])
    return str(body["id"])


def _session(account_store: AccountStore, session: Json, at: int) -> None:
    del at
    checkout.expire(account_store, session)


def _subscription(account_store: AccountStore, subscription: Json, at: int) -> None:
    """What is due earliest; of the same second, its end comes first."""
    status, resumes_at = subscription["status"], collection_resumes_at(subscription)
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= at:
        subscriptions.cancel(account_store, subscription)
    elif resumes_at is not None and resumes_at <= at:
        subscriptions.update(account_store, subscription, pause_collection=None)
    elif status == "paused":
        subscriptions.give_up_resumption(account_store, subscription)
    elif status == "incomplete" and _has_debit(account_store, subscription):
        subscriptions.activate(account_store, subscription)
    elif status == "incomplete":
        subscriptions.expire_incomplete(account_store, subscription)
    elif status == "trialing" and not subscription.get("_trial_warned") and trial_warning(subscription) <= at:
        subscriptions.announce_trial_end(account_store, subscription)
    else:
        cycles.turn(account_store, subscription)


def _invoice(account_store: AccountStore, invoice: Json, at: int) -> None:
    if invoice["status"] == "draft":
        collection.advance(account_store, invoice)
    elif invoice["next_payment_attempt"] is not None and invoice["next_payment_attempt"] <= at:
        collection.retry(account_store, invoice)
    else:
        collection.become_overdue(account_store, invoice)


def _intent(account_store: AccountStore, intent: Json, at: int) -> None:
    del at
    collection.settle_debit(account_store, intent, succeeds=not intent["_will_fail"])


_ACTS: dict[str, Callable[[AccountStore, Json, int], None]] = {
    "checkout.session": _session,
    "subscription": _subscription,
    "invoice": _invoice,
    "payment_intent": _intent,
}


def _has_debit(account_store: AccountStore, subscription: Json) -> bool:
    """Which files of earlier versions have: there a first debit did not make its subscription active."""
    owed = invoices.open_invoices(account_store, subscription["id"])
    return any(invoices.intent_of(account_store, i)["status"] == "processing" for i in owed)
