"""What a price of a subscription meant when it was sold, out of all facts that say so. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licenzy.entitlements.changed_terms import ChangedTerms
from licenzy.entitlements.ordering import in_order
from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.term_versions import TermVersions

Terms = Mapping[str, Any]
"""What a purchase gives: product code, features, grace days, …; `catalog.rules.as_sold` makes it."""


@dataclass(slots=True, eq=False)
class _Stretch:
    """The time for which an item keeps one price."""

    price: str
    since: datetime
    sold: Terms | None = None
    same_product: Terms | None = None
    """The product of ours to which all mapped prices belong that are of the price's Stripe product."""
    gone: tuple[tuple[str, _Stretch], ...] = ()
    """Those of the items that the subscription had before and no longer has, with the item."""


class SoldTerms:
    """The terms of each item in each stretch at one price, whichever fact arrived when.

    An item that keeps its price keeps what the earliest fact of it says, so that renewals and later edits of
    the product change nothing. One that changes its price gets what the fact of the change says, also where
    it had that price before. Facts recorded before terms were numbered said what the catalog was at the
    time: of those the last one stands, as it did then.

    A price that no product has gives what the item gave before, or else an item that is gone, where its
    Stripe product means that product and no other.

    Terms that an operator gave to the purchase replace those of the stretches that had begun by then.
    """

    def __init__(self, states: Sequence[FactLike], changed: ChangedTerms) -> None:
        self._changed = changed
        self._of_item: dict[str, list[_Stretch]] = {}
        self._in_state: dict[tuple[str, str], _Stretch] = {}
        running: dict[str, _Stretch] = {}
        for state in in_order(states):
            present: dict[str, _Stretch] = {}
            ids = {item["id"] for item in state.data["items"]}
            left = (name for name in self._of_item if name not in ids)
            gone = tuple((name, each) for name in left for each in self._of_item[name])
            for item in state.data["items"]:
                item_id, price = item["id"], item["price"]
                stretch = running.get(item_id)
                if stretch is None or stretch.price != price:
                    stretch = _Stretch(price, state.occurred_at)
                    self._of_item.setdefault(item_id, []).append(stretch)
                present[item_id] = self._in_state[item_id, state.source_id] = stretch
                stretch.sold = _sold(stretch.sold, item.get("sold"))
                stretch.same_product = stretch.same_product or item.get("same_product")
                stretch.gone = gone
            running = present

    def versions(self) -> TermVersions[SoldTerms]:
        """Without what an operator gave, and then with as much of it as was given by each instant."""
        return self._changed.versions().map(self._with)

    def _with(self, changed: ChangedTerms) -> SoldTerms:
        same = copy(self)
        same._changed = changed
        return same

    def of(self, state: FactLike, item_id: str) -> Terms | None:
        """What an item gives at the price of a state that has it; None where no product has the price."""
        stretch = self._in_state[item_id, state.source_id]
        return self._terms(item_id, stretch)

    def at_price(self, item_id: str, price: str | None, *, at: datetime) -> Terms | None:
        """What the item gave at the price that an invoice of some instant names; None if it is unknown."""
        stretches = [each for each in self._of_item.get(item_id, ()) if each.price == price]
        begun = [each for each in stretches if each.since <= at]
        return self._terms(item_id, (begun[-1:] or stretches)[0]) if stretches else None

    def _terms(self, item_id: str, stretch: _Stretch) -> Terms | None:
        """What a stretch gives; where no fact of it says, what the price meant to the item before."""
        if stretch.sold is not None:
            return self._changed.over(stretch.sold, since=stretch.since)
        same_price = [each for each in self._of_item[item_id] if each.price == stretch.price and each.sold]
        before = [each for each in same_price if each.since < stretch.since]
        if same_price:
            return self._terms(item_id, (before[-1:] or same_price)[0])
        return self._kept(item_id, stretch)

    def _kept(self, item_id: str, stretch: _Stretch) -> Terms | None:
        """What was held before, where a price of no product is of the same Stripe product."""
        same = stretch.same_product
        if same is None:
            return None
        earlier = self._of_item[item_id]
        for each in reversed(earlier[: earlier.index(stretch)]):
            terms = self._terms(item_id, each)
            if terms is not None:
                return terms if terms["product_code"] == same["product_code"] else None
        if earlier[0] is not stretch:
            return None  # It came at another price, at which it was of no product.
        held = (self._terms(name, each) for name, each in stretch.gone)
        codes = {terms["product_code"] for terms in held if terms is not None}
        if same["product_code"] not in codes:
            return None
        return self._changed.over(same, since=stretch.since)


def _sold(known: Terms | None, said: Terms | None) -> Terms | None:
    """What was sold by what is known of a stretch so far and what its next fact says."""
    if not said or known is None:
        return said or known
    is_numbered = "version" in known or "version" in said
    return known if is_numbered else said
