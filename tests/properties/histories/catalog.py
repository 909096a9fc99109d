"""The merchant's catalog: what each mapped price means, and how that changes while a history runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNKNOWN, UNKNOWN_YEARLY = "price_of_nothing", "price_of_nothing_for_a_year"

SAME_PRODUCT = "price_of_the_same_product"
"""A price that nobody mapped, of the Stripe product whose mapped prices all are of one product."""

Sold = Mapping[str, Any]
"""What a price means: product, features and terms, as a fact keeps it."""


@dataclass
class Catalog:
    """Every version of the catalog, each with the second from which it counts."""

    first: dict[str, Sold]
    yearly: set[str] = field(default_factory=set)
    """The prices of a year; all others are of a month."""
    fixed: bool = True
    """Whether nothing may be edited, because it stands for products of a database."""
    edits: list[tuple[int, dict[str, Sold]]] = field(default_factory=list)

    @property
    def now(self) -> dict[str, Sold]:
        return self.edits[-1][1] if self.edits else self.first

    def at(self, second: int) -> dict[str, Sold]:
        """What was mapped in a second."""
        return next((prices for start, prices in reversed(self.edits) if start <= second), self.first)

    def same_product(self, second: int) -> Sold | None:
        """The product that goes on at `SAME_PRODUCT`, where it is held: that of the first price."""
        code = next(iter(self.first.values()))["product_code"]
        return next((sold for sold in self.at(second).values() if sold["product_code"] == code), None)

    def is_yearly(self, price: str) -> bool:
        return price in self.yearly or price == UNKNOWN_YEARLY

    def mapped(self, *, yearly: bool) -> list[str]:
        return [price for price in self.now if self.is_yearly(price) is yearly]

    def edit_terms(self, second: int, chance: random.Random) -> None:
        """Every product gets other grace days and features; what it is called and costs stays."""
        version = len(self.edits) + 2
        prices: dict[str, Sold] = {
            price: {
                **sold,
                "version": version,
                "grace_days": chance.choice((0, 1, 6, 40)),
                "features": [f"edition_{version}"],
            }
            for price, sold in self.now.items()
        }
        self.edits.append((second, prices))

    def move_price(self, second: int, chance: random.Random) -> None:
        """A product costs more from now on: it is mapped to a new price, and its old one to nothing."""
        old = chance.choice(sorted(self.now))
        new = f"{old}_{len(self.edits) + 1}"
        if old in self.yearly:
            self.yearly.add(new)
        moved = {**self.now[old], "stripe_price_id": new, "version": len(self.edits) + 2}
        kept = {price: sold for price, sold in self.now.items() if price != old}
        self.edits.append((second, {**kept, new: moved}))
