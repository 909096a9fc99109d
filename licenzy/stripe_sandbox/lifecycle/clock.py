"""The account's clock: as it moves, everything that falls due happens in the order of its due times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.accounts import set_offset
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import checkout, invoices, subscriptions
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes.account import test_clock
from licenzy.stripe_sandbox.version import Json

MAX_ADVANCE_SECONDS = 2 * 366 * 86400
INCOMPLETE_EXPIRY_SECONDS = 23 * 3600
TRIAL_WARNING_SECONDS = 3 * 86400


@dataclass
class _Due:
    at: int
    owner: str
    """The id of the subscription or session that it happens to."""
    act: Callable[[], object]


def advance(account_session: AccountSession, *, seconds: int) -> Json:
    """Move the clock forward and run what falls due, each at its own time; returns the clock.

    The event at the end is how a product learns the account's time: it is Stripe's own, with the time in its
    object."""
    require_movable(seconds)
    target = account_session.now + seconds
    run_due(account_session, until=target)
    return arrive(account_session, offset=account_session.account.offset + seconds, now=target)


def require_movable(seconds: int) -> None:
    """Refuse a way that is too long, or leads back."""
    if not 1 <= seconds <= MAX_ADVANCE_SECONDS:
        raise InvalidParameter(
            f"The clock moves forward by 1 to {MAX_ADVANCE_SECONDS} seconds at a time.", param="seconds"
        )


def arrive(account_session: AccountSession, *, offset: int, now: int) -> Json:
    """Set the clock `offset` seconds ahead of real time and announce it; returns the clock."""
    account_session.now = now
    set_offset(account_session.db, account_session.account, offset)
    clock = test_clock(account_session.account, frozen_time=now, target=None)
    account_session.emit("test_helpers.test_clock.ready", clock)
    return clock


def advance_to_renewal(
    account_session: AccountSession, subscription: Json, *, outcome: PaymentOutcome
) -> None:
    """Move the clock to the end of the subscription's period, where it renews, or fails to."""
    advance(account_session, seconds=prepare_renewal(account_session, subscription, outcome=outcome))


def prepare_renewal(account_session: AccountSession, subscription: Json, *, outcome: PaymentOutcome) -> int:
    """Decide how the next renewal ends; in how many seconds it is due. Refuses one that does not renew."""
    if subscription["status"] not in subscriptions.LIVE:
        raise RequestRefused(
            f"The subscription {subscription['id']} is {subscription['status']}: it does not renew."
        )
    if subscription["cancel_at"] is not None:
        raise RequestRefused(f"The subscription {subscription['id']} has an end, so it may not renew.")
    subscriptions.set_card_fails(account_session, subscription, outcome is PaymentOutcome.DECLINE)
    return max(1, subscriptions.period_end(subscription) - account_session.now)


def renewals(account_session: AccountSession) -> dict[str, int]:
    """In how many seconds each subscription renews next, by id; those that end before do not renew."""
    running = account_session.select("subscription", _RUNNING)
    ends = {each["id"]: subscriptions.period_end(each) for each in running if _renews(each)}
    return {id_: max(1, end - account_session.now) for id_, end in ends.items()}


def _renews(subscription: Json) -> bool:
    cancel_at = subscription["cancel_at"]
    if subscription["status"] not in subscriptions.LIVE:
        return False
    return cancel_at is None or cancel_at > subscriptions.period_end(subscription)


def run_next(account_session: AccountSession, *, until: int, owner: str | None) -> str | None:
    """Run what is due next by `until`; the id of what it happened to, None when nothing is due.

    The events of what does not happen to `owner` are posted in the background.
    """
    due = _next_due(account_session, until)
    if due is None:
        return None
    account_session.now = max(account_session.now, due.at)
    account_session.lane = "" if due.owner == owner else due.owner
    due.act()
    account_session.lane = ""
    return due.owner


def run_due(account_session: AccountSession, *, until: int) -> None:
    """Run what is due by `until`. Afterwards the session's time is that of the last of it; it never goes
    back."""
    while (due := _next_due(account_session, until)) is not None:
        account_session.now = max(account_session.now, due.at)
        due.act()


def _next_due(account_session: AccountSession, until: int) -> _Due | None:
    found = [
        _Due(session["expires_at"], session["id"], partial(checkout.expire, account_session, session))
        for session in checkout.open_sessions(account_session, due_by=until)
    ]
    for subscription in reversed(account_session.select("subscription", _RUNNING)):
        found += _due_of(account_session, subscription)
    in_time = [due for due in found if due.at <= until]
    return min(in_time, key=lambda due: due.at, default=None)


_RUNNING: tuple[str, list[object]] = (
    "json_extract(body, '$.status') IN ('trialing', 'active', 'past_due', 'incomplete', 'paused')",
    [],
)


def _due_of(account_session: AccountSession, subscription: Json) -> list[_Due]:
    """Each thing that this subscription waits for; an earlier one stands before a later one of the same
    second."""
    status, outcome = subscription["status"], subscriptions.next_outcome(subscription)
    due: list[_Due] = []
    add = partial(_add, due, subscription["id"])
    if subscription["cancel_at"] is not None:
        cancel = partial(subscriptions.cancel, account_session, subscription)
        add(subscription["cancel_at"], cancel)
    if status == "incomplete" and not _is_processing(account_session, subscription):
        expire = partial(subscriptions.expire_incomplete, account_session, subscription)
        add(subscription["created"] + INCOMPLETE_EXPIRY_SECONDS, expire)
    if status == "trialing" and not subscription.get("_trial_warned"):
        announce = partial(subscriptions.announce_trial_end, account_session, subscription)
        add(max(subscription["trial_end"] - TRIAL_WARNING_SECONDS, subscription["created"]), announce)
    if status == "past_due":
        for invoice in invoices.open_invoices(account_session, subscription["id"]):
            if invoice["next_payment_attempt"] is not None:
                collect = partial(
                    subscriptions.collect, account_session, subscription, invoice, outcome=outcome
                )
                add(invoice["next_payment_attempt"], collect)
    if status in subscriptions.LIVE:
        renew = partial(subscriptions.renew, account_session, subscription, outcome=outcome)
        add(subscriptions.period_end(subscription), renew)
    return due


def _add(due: list[_Due], owner: str, at: int, act: Callable[[], object]) -> None:
    due.append(_Due(at, owner, act))


def _is_processing(account_session: AccountSession, subscription: Json) -> bool:
    owed = invoices.open_invoices(account_session, subscription["id"])
    return any(invoices.intent_of(account_session, i)["status"] == "processing" for i in owed)
