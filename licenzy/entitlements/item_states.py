"""An item of a subscription in each of its states, with what its terms then included. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from licenzy.entitlements.ordering import in_order
from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.sold import Terms
from licenzy.entitlements.subscription_history import Item, SubscriptionHistory
from licenzy.entitlements.windows import whole_seconds

IncludedLine = Mapping[str, Any]
"""What a product's terms say of one unit: `units`, `every`, `rollover`, …"""


@dataclass(frozen=True, slots=True)
class ItemState:
    """An item, or the one whose place it took, in one state of its subscription."""

    fact: FactLike
    item: Item
    terms: Terms | None

    @property
    def at(self) -> int:
        return whole_seconds(self.fact.occurred_at)

    @property
    def span(self) -> tuple[int, int] | None:
        start, end = self.item["period_start"], self.item["period_end"]
        return (start, end) if start is not None and end is not None and start < end else None


def item_states(history: SubscriptionHistory, item_id: str) -> Iterator[ItemState]:
    """The states that have the item, or the one whose place it took, in their order."""
    for fact in in_order(history.states):
        item = history.in_place_of(fact, item_id)
        if item is not None:
            yield ItemState(fact, item, history.terms.of(fact, item["id"]))


def lines_of(terms: Terms | None) -> Sequence[IncludedLine]:
    """The units that terms include."""
    return terms.get("included") or () if terms is not None else ()


def line_of(terms: Terms | None, unit: str) -> IncludedLine | None:
    """What terms say of one unit."""
    return next((line for line in lines_of(terms) if line["unit"] == unit), None)
