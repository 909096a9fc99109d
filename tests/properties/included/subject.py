"""What the product answers about included units, as the tests of agreement ask it.

The names and figures are those of the plain model, so that both are asked in the same way. Facts are those
of one subscription, in any order; the product may use those only that had happened by the instant asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from tests.properties.fixtures_projection import Fact
from tests.properties.included.purchase import Answer, Balance, Call, Pack


class Bounds(NamedTuple):
    """A window by the facts alone, whatever was used of it."""

    starts: int
    ends: int
    size: int


class Calls(Protocol):
    """One customer's windows and packs, and the calls on them in the order of their instants."""

    def perform(self, call: Call) -> Answer:
        """Carry out a call. One on a reservation that is closed or over is not allowed, with 0 left."""

    def left(self, unit: str, now: int) -> int:
        """What may be drawn of a unit at an instant, of everything."""

    def balances(self, unit: str, now: int) -> Mapping[tuple[str, str], Balance]:
        """By subscription and item, the window in force of each that is available.

        An item that took another's place is named as that.
        """


class Ordered(Calls, Protocol):
    def order(self) -> Mapping[tuple[str, str, str, int], str]:
        """By subscription, item, unit and start: of two windows of one time, the least is drawn first."""


WindowsAt: TypeAlias = Callable[[Sequence[Fact], str, str, int], Bounds | None]
"""By the facts of a subscription, in any order: the window of an item and unit at an instant."""


class Subject(Protocol):
    def calls(self, facts: Mapping[str, Sequence[Fact]], packs: Sequence[Pack]) -> Ordered:
        """A customer with these subscriptions, by name, and packs, of which nothing is used yet."""
