"""What a price of a subscription meant when it was sold, out of all facts that say so. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from licenzy.entitlements.projected import FactLike

Terms = Mapping[str, Any]
"""What a purchase gives: product code, features, grace days, …; `catalog.rules.as_sold` makes it."""


class SoldTerms:
    """The terms of each item at each price, whichever fact arrived when.

    An item that keeps its price keeps what the earliest fact of it says, so that renewals and later edits of
    the product change nothing. Facts recorded before terms were numbered said what the catalog was at the
    time: of those the last one stands, as it did then.
    """

    def __init__(self, states: Sequence[FactLike]) -> None:
        self._sold: dict[tuple[str, str], Terms] = {}
        self._same_product: dict[tuple[str, str], Terms] = {}
        numbered: set[tuple[str, str]] = set()
        for state in sorted(states, key=lambda state: (state.occurred_at, state.source_id)):
            for item in state.data["items"]:
                at = (item["id"], item["price"])
                if item.get("same_product"):
                    self._same_product.setdefault(at, item["same_product"])
                sold = item.get("sold")
                if not sold:
                    continue
                if "version" not in sold:
                    if at not in numbered:
                        self._sold[at] = sold
                elif at not in self._sold:
                    self._sold[at] = sold
                    numbered.add(at)

    def of(self, item: Mapping[str, Any]) -> Terms | None:
        """What the item gives at its price; None where no product has the price."""
        return self._sold.get((item["id"], item["price"]))

    def at_price(self, item_id: str, price: str | None) -> Terms | None:
        """What the item gave at a price of which an invoice tells; None where that is not known."""
        return self._sold.get((item_id, price)) if price is not None else None

    def of_same_product(self, item: Mapping[str, Any]) -> Terms | None:
        """The product of ours to which all prices of the item's Stripe product belong that are mapped."""
        return self._same_product.get((item["id"], item["price"]))
