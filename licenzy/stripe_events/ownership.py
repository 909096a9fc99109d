"""Whether an attempt that Stripe's objects name in metadata is the one behind them.

Anybody can copy metadata to another session or subscription. What an attempt sold is decided by the objects
themselves: its session is the one that was opened for it, and its session names its subscription.
"""

from __future__ import annotations

from collections.abc import Iterable

from licenzy.checkout.queries import SoldAttempt
from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.stripe_gateway.shapes import Reading


def is_behind(attempt: SoldAttempt, reading: Reading, purchase: LockedPurchase | None) -> bool:
    """Whether an object that names the attempt belongs to it, as far as is known.

    A session is the attempt's when it was opened for it, or when Stripe made it from that one after it had
    expired. A subscription is the attempt's when one of these sessions names it; before any of them does,
    the first subscription to name the attempt counts, until its session or Stripe contradicts.
    """
    if reading.kind == "session":
        opened = attempt.stripe_checkout_session_id
        return opened is None or opened in {reading.object_id, reading.data["recovered_from"]}
    if purchase is not None and purchase.subject_id is not None:
        return purchase.attempt_id == attempt.id
    if attempt.stripe_subscription_id == subscription_of(reading):
        return True
    # A purchase that is nobody's and names the attempt was found not to be the attempt's.
    was_disowned = purchase is not None and purchase.attempt_id == attempt.id
    return attempt.stripe_subscription_id is None and not was_disowned


def lacks_proof(attempt: SoldAttempt, reading: Reading) -> bool:
    """Whether only metadata says so far that the attempt sold the subscription of this object."""
    return reading.kind != "session" and attempt.stripe_subscription_id is None


def subscription_of(reading: Reading) -> str | None:
    """The subscription that an object is, or that it names."""
    if reading.kind == "subscription":
        return reading.object_id
    subscription: str | None = reading.data["subscription"]
    return subscription


def was_sold_by_session(facts: Iterable[FactLike]) -> bool:
    """Whether one of the purchase's facts is a session of the attempt, which names the purchase."""
    return any(fact.kind == "session" and fact.data.get("sold") is not None for fact in facts)


def session_opened(session_id: str, recovered_from: str | None) -> str:
    """The session that an attempt opened, by any of its sessions."""
    return recovered_from or session_id
