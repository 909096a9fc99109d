"""What one purchase is called, what Stripe sent about it, and what is right in the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.properties.histories.catalog import Catalog

START = 1_790_000_000
DAY = 86_400
MONTH, YEAR = 30 * DAY, 365 * DAY
SLACK = 3 * DAY
PRICE = 1200
NEW, OLD = "2026-10-28.endive", "2020-03-02"


@dataclass(frozen=True)
class Names:
    """What the objects of one purchase are called, and the prices that are mapped to products."""

    tag: str
    attempt: str
    session: str
    prices: tuple[str, ...]
    """Of a month, or of no interval at all."""
    quantity: int = 1
    yearly: tuple[str, ...] = ()

    @property
    def subscription(self) -> str:
        return f"sub_{self.tag}"


@dataclass(frozen=True)
class Right:
    """What one item gives from the end of the history on, if nothing else happens."""

    until: int | None
    """The first second without access; none where it never ends."""
    product_code: str | None = None
    """None where the plain model does not judge it; so are the quantity, the features and the reason."""
    quantity: int | None = None
    features: tuple[str, ...] | None = None
    ends_as: str | None = None
    """The reason from `until` on."""


@dataclass
class Life:
    """One purchase: what Stripe sent about it, and what is true in the end."""

    names: Names
    shape: str
    catalog: Catalog
    events: list[dict[str, Any]] = field(default_factory=list)
    snapshots: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    """Second, number of events by then, and the subscription with its latest invoice."""
    kinds: set[str] = field(default_factory=set)
    """What happened in it, in words whose share a test asserts."""
    ended_at: int = START
    granted: bool = True
    """Whether there is an entitlement at all; where nothing was ever paid for, there is none."""
    rights: dict[str, Right] = field(default_factory=dict)
    """By item; an item that gives no access at `ended_at` or later is left out."""

    @property
    def has_tie(self) -> bool:
        """Whether two events of the subscription share a second."""
        seconds = [e["created"] for e in self.events if e["type"].startswith("customer.subscription.")]
        return len(seconds) > len(set(seconds))

    @property
    def takes_back(self) -> bool:
        return any(e["type"].startswith(("charge.", "refund.")) for e in self.events)

    @property
    def deleted(self) -> dict[str, Any] | None:
        found = (e for e in self.events if e["type"] == "customer.subscription.deleted")
        return next(found, None)

    def instants(self) -> Iterator[int]:
        """The seconds at which a right may go wrong: now, and just before and at each end."""
        yield self.ended_at
        for right in self.rights.values():
            if right.until is not None and right.until > self.ended_at:
                yield from (right.until - 1, right.until)
        yield self.ended_at + 3 * YEAR
