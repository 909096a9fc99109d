"""An item of a subscription in each of its states, with what its terms then included. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from licenzy.entitlements.included_lines import IncludedLine, line_for
from licenzy.entitlements.ordering import in_order
from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.sold import Terms
from licenzy.entitlements.subscription_history import Item, SubscriptionHistory
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.windows import whole_seconds


@dataclass(frozen=True, slots=True)
class ItemState:
    """An item, or the one whose place it took, in one state of its subscription."""

    fact: FactLike
    item: Item
    terms: TermVersions[Terms | None]

    @property
    def at(self) -> int:
        return whole_seconds(self.fact.occurred_at)

    @property
    def span(self) -> tuple[int, int] | None:
        start, end = self.item["period_start"], self.item["period_end"]
        return (start, end) if start is not None and end is not None and start < end else None


def item_states(
    history: SubscriptionHistory, versions: TermVersions[SubscriptionHistory], item_id: str
) -> Iterator[ItemState]:
    """The states that have the item, or the one whose place it took, in their order.

    `versions` are those of the history.
    """
    for fact in in_order(history.states):
        item = history.in_place_of(fact, item_id)
        if item is not None:
            yield ItemState(fact, item, versions.map(_terms_of(fact, item["id"])))


def _terms_of(fact: FactLike, item_id: str) -> Callable[[SubscriptionHistory], Terms | None]:
    return lambda history: history.terms.of(fact, item_id)


def lines_of(terms: Terms | None) -> Sequence[IncludedLine]:
    """The units that terms include."""
    return terms.get("included") or () if terms is not None else ()


def lines_for(terms: TermVersions[Terms | None], unit: str) -> TermVersions[IncludedLine | None]:
    """What each of several terms says of one unit."""
    return terms.map(lambda each: line_for(lines_of(each), unit))
