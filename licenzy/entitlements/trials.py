"""The trial of a subscription, out of its facts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from licenzy.entitlements import statuses
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.ordering import latest
from licenzy.entitlements.projected import FactLike
from licenzy.kit.clock import from_unix

_WILL_END = "customer.subscription.trial_will_end"


class PastTrial(NamedTuple):
    """A trial that a subscription is or was in."""

    at: datetime
    """When a fact first says so."""
    products: list[str]
    """The codes of the products that were in the trial, sorted."""


def trial_in(facts: Sequence[FactLike]) -> PastTrial | None:
    """The trial that the facts of a subscription tell of, whichever fact arrived when; None without one.

    Where no event of the trial itself arrived, the first later state counts, which says when it ended.
    """
    states = [fact for fact in facts if fact.kind == "subscription"]
    told = [state for state in states if state.data["status"] == "trialing"]
    if not told:
        later = [
            state
            for state in states
            if state.data.get("trial_end") and state.data["status"] not in statuses.NOT_BEGUN
        ]
        told = sorted(later, key=lambda state: (state.occurred_at, state.source_id))[:1]
    if not told:
        return None
    terms = [item.get("sold") or item.get("same_product") for state in told for item in state.data["items"]]
    products = sorted({each["product_code"] for each in terms if each})
    return PastTrial(min(state.occurred_at for state in told), products)


def confirmed_endings(facts: Sequence[FactLike]) -> dict[tuple[str, int], FactLike]:
    """Ends of trials that Stripe announced, each with the first reading of the subscription that confirms it.

    An event may be old when it arrives: what counts is that Stripe, asked after it, still has the trial.
    """
    states = [fact for fact in facts if fact.kind == "subscription" and fact.data.get("trial_end")]
    announced: dict[tuple[str, int], datetime] = {}
    for state in states:
        if state.data["event"] == _WILL_END:
            key = (state.object_id, state.data["trial_end"])
            announced[key] = min(state.occurred_at, announced.get(key, state.occurred_at))
    confirmed: dict[tuple[str, int], FactLike] = {}
    for state in states:
        key = (state.object_id, state.data["trial_end"])
        is_later = key in announced and state.occurred_at >= announced[key]
        if state.source is FactSource.SNAPSHOT and state.data["status"] == "trialing" and is_later:
            confirmed.setdefault(key, state)
    return confirmed


def is_ahead(ending: tuple[str, int], facts: Sequence[FactLike], now: datetime) -> bool:
    """Whether the subscription, as it is now, is in a trial that ends then."""
    _subscription, end = ending
    state = latest([fact for fact in facts if fact.kind == "subscription"]).data
    return state["status"] == "trialing" and state["trial_end"] == end and from_unix(end) > now
