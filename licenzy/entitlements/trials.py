"""The trial of a subscription, out of its facts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from licenzy.entitlements.projected import FactLike

_NOT_BEGUN = frozenset({"incomplete", "incomplete_expired"})
"""The statuses in which a subscription may have a trial that has not begun."""


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
            if state.data.get("trial_end") and state.data["status"] not in _NOT_BEGUN
        ]
        told = sorted(later, key=lambda state: (state.occurred_at, state.source_id))[:1]
    if not told:
        return None
    terms = [item.get("sold") or item.get("same_product") for state in told for item in state.data["items"]]
    products = sorted({each["product_code"] for each in terms if each})
    return PastTrial(min(state.occurred_at for state in told), products)
