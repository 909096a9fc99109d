"""Which packs burn first, and how much of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import Moment, OwnedEntitlement, remaining, standing

MAX_UNITS = 1_000_000_000
"""The most units that one call may name."""
MAX_TTL_SECONDS = 86_400


class Pack(OwnedEntitlement, Protocol):
    """What burning reads of an entitlement, beside what a decision reads."""

    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> Moment: ...
    @property
    def unit(self) -> str: ...


P = TypeVar("P", bound=Pack)


class Draw(NamedTuple):
    """Units taken from, or set aside in, one pack."""

    pack_id: str
    units: int


class Balance(NamedTuple):
    """What the available packs of one unit hold together."""

    remaining: int
    granted: int


def named(packs: Iterable[P], unit: str, product_code: str | None = None) -> list[P]:
    """The packs of a unit, and of a product where one is named."""
    return [each for each in packs if each.unit == unit and product_code in {None, each.product_code}]


def balances(owned: Iterable[Pack], now: Moment) -> dict[str, Balance]:
    """What is left in the packs that are available at `now`, and what they began with, by unit."""
    found: dict[str, Balance] = {}
    for pack in burning(owned, now):
        left, granted = found.get(pack.unit, Balance(0, 0))
        found[pack.unit] = Balance(left + remaining(pack), granted + pack.granted_units)
    return dict(sorted(found.items()))


def burning(owned: Iterable[P], now: Moment) -> list[P]:
    """The packs available at `now`, in the order in which they burn: soonest to end, then oldest."""
    packs = [each for each in owned if each.kind == Kind.USAGE_PACK and standing(each, now).available]
    return sorted(packs, key=_place)


def _place(pack: Pack) -> tuple[Any, ...]:
    never = pack.ends_at is None
    return never, pack.created_at if never else pack.ends_at, pack.created_at, pack.id


def total(packs: Iterable[Pack]) -> int:
    """Units left in these packs together."""
    return sum(remaining(each) for each in packs)


def drawn(packs: Sequence[Pack], units: int) -> list[Draw]:
    """What `units` take of packs that are given in burning order and hold as many; no pack gives 0."""
    draws = []
    for pack in packs:
        share = min(units, remaining(pack))
        if share:
            draws.append(Draw(pack.id, share))
        units -= share
    if units:
        raise ValueError("the packs do not have that many units")
    return draws


def committed(holds: Sequence[Draw], units: int) -> list[Draw]:
    """What committing `units` of a reservation takes from each of its holds, the first ones first."""
    taken = []
    for hold in holds:
        share = min(units, hold.units)
        taken.append(Draw(hold.pack_id, share))
        units -= share
    return taken
