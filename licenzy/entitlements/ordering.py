"""Which of several states of one Stripe object is the latest. Pure.

Stripe's `created` has a resolution of one second and events arrive in any order. A numbered snapshot,
read from Stripe after the fact, wins over all events up to the second in which its read began. Among
events the second decides, then terminal states, then the chain of `previous_attributes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Protocol, TypeVar

from licenzy.entitlements.models import FactSource


class StateLike(Protocol):
    """A fact that tells the state of an object at one moment."""

    @property
    def source(self) -> FactSource: ...
    @property
    def source_id(self) -> str: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


S = TypeVar("S", bound=StateLike)

_TERMINAL = frozenset({"canceled", "incomplete_expired"})


def latest(states: Sequence[S]) -> S:
    """The state that holds, out of at least one."""
    snapshots = [state for state in states if state.source is FactSource.SNAPSHOT]
    if snapshots:
        read = max(snapshots, key=lambda state: int(state.data["snapshot"]))
        # An event of a later second is newer for certain; a read of it has been asked for already.
        states = [state for state in states if _is_event_after(state, read)]
        if not states:
            return read
    last_second = max(state.occurred_at for state in states)
    tied = sorted(
        (state for state in states if state.occurred_at == last_second), key=lambda state: state.source_id
    )
    ended = [state for state in tied if _is_terminal(state.data)]
    if ended:
        return ended[-1]
    unfollowed = [
        state
        for state in tied
        if not any(_follows(other.data, state.data) for other in tied if other is not state)
    ]
    # A state that nothing is said to follow is the last; `created` never is while another one stands.
    candidates = unfollowed or tied
    return max(candidates, key=lambda state: (bool(state.data.get("previous")), state.source_id))


def in_order(states: Sequence[S]) -> list[S]:
    """All states from the first to the last; within one instant, each before the one that holds after it."""
    ordered: list[S] = []
    for _, group in groupby(sorted(states, key=lambda state: state.occurred_at), lambda s: s.occurred_at):
        left = list(group)
        of_instant: list[S] = []
        while left:
            last = latest(left)
            left.remove(last)
            of_instant.insert(0, last)
        ordered += of_instant
    return ordered


def _is_event_after(state: StateLike, read: StateLike) -> bool:
    second = read.occurred_at.replace(microsecond=0)
    return state.source is FactSource.EVENT and state.occurred_at > second


def _is_terminal(data: Mapping[str, Any]) -> bool:
    return data["status"] in _TERMINAL or data.get("event") == "customer.subscription.deleted"


def _follows(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether `later` says that what it changed was, before, just as `earlier` has it."""
    previous = later.get("previous") or {}
    return bool(previous) and all(_was(earlier.get(name), value) for name, value in previous.items())


def _was(had: Any, reported: Any) -> bool:
    """Whether a field had the value told. Of items only what is told counts: a fact has more of them."""
    if not isinstance(reported, list) or not isinstance(had, list):
        return bool(had == reported)
    return len(had) == len(reported) and all(
        value is None or item.get(name) == value
        for item, before in zip(had, reported, strict=True)
        for name, value in before.items()
    )
