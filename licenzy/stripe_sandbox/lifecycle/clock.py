"""The account's clock: what falls due as it moves happens in the order in which it falls due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.accounts import set_offset
from licenzy.stripe_sandbox.errors import InvalidParameter, Refused
from licenzy.stripe_sandbox.lifecycle import checkout, invoices, subscriptions
from licenzy.stripe_sandbox.lifecycle.payments import How
from licenzy.stripe_sandbox.shapes.account import test_clock
from licenzy.stripe_sandbox.version import Json

FURTHEST_SECONDS = 2 * 366 * 86400
INCOMPLETE_LASTS_SECONDS = 23 * 3600
TRIAL_WARNING_SECONDS = 3 * 86400


@dataclass
class _Due:
    at: int
    act: Callable[[], object]


def advance(account_session: AccountSession, *, seconds: int) -> Json:
    """Move the clock forward and let happen what falls due, each at its own time; answers the clock.

    The event at the end is how a product learns the account's time: it is Stripe's own, with the time in its
    object."""
    if not 1 <= seconds <= FURTHEST_SECONDS:
        raise InvalidParameter(
            f"The clock moves forward by 1 to {FURTHEST_SECONDS} seconds at a time.", param="seconds"
        )
    target = account_session.now + seconds
    catch_up(account_session, until=target)
    account_session.now = target
    set_offset(account_session.db, account_session.account, account_session.account.offset + seconds)
    clock = test_clock(account_session.account, frozen_time=target)
    account_session.emit("test_helpers.test_clock.ready", clock)
    return clock


def reach_renewal(account_session: AccountSession, subscription: Json, *, how: How) -> None:
    """Move the clock to the end of the subscription's period, where it renews, or fails to."""
    if subscription["status"] not in subscriptions.LIVE:
        raise Refused(
            f"The subscription {subscription['id']} is {subscription['status']}: it does not renew."
        )
    if subscription["cancel_at"] is not None:
        raise Refused(f"The subscription {subscription['id']} has an end, so it may not renew.")
    account_session.change(subscription, _card_fails=how is How.DECLINE)
    advance(account_session, seconds=max(1, subscriptions.period_end(subscription) - account_session.now))


def catch_up(account_session: AccountSession, *, until: int) -> None:
    """Let happen what is due by `until`. The session's time stands at the last of it afterwards, and never
    goes back."""
    while (due := _next_due(account_session, until)) is not None:
        account_session.now = max(account_session.now, due.at)
        due.act()


def _next_due(account_session: AccountSession, until: int) -> _Due | None:
    found = [
        _Due(session["expires_at"], partial(checkout.expire, account_session, session))
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
    status, how = subscription["status"], _how(subscription)
    found: list[_Due] = []
    if subscription["cancel_at"] is not None:
        found.append(
            _Due(subscription["cancel_at"], partial(subscriptions.cancel, account_session, subscription))
        )
    if status == "incomplete" and not _under_way(account_session, subscription):
        expiry = subscription["created"] + INCOMPLETE_LASTS_SECONDS
        return [_Due(expiry, partial(subscriptions.expire_incomplete, account_session, subscription))]
    if status == "trialing" and not subscription.get("_trial_warned"):
        warning = max(subscription["trial_end"] - TRIAL_WARNING_SECONDS, subscription["created"])
        found.append(_Due(warning, partial(subscriptions.warn_of_trial_end, account_session, subscription)))
    if status == "past_due":
        found += [
            _Due(
                i["next_payment_attempt"],
                partial(subscriptions.collect, account_session, subscription, i, how=how),
            )
            for i in invoices.open_invoices(account_session, subscription["id"])
            if i["next_payment_attempt"] is not None
        ]
    if status in subscriptions.LIVE:
        end = subscriptions.period_end(subscription)
        found.append(_Due(end, partial(subscriptions.renew, account_session, subscription, how=how)))
    return found


def _how(subscription: Json) -> How:
    return How.DECLINE if subscription.get("_card_fails") else How.PAY


def _under_way(account_session: AccountSession, subscription: Json) -> bool:
    owed = invoices.open_invoices(account_session, subscription["id"])
    return any(invoices.intent_of(account_session, i)["status"] == "processing" for i in owed)
