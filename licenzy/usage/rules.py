"""Which packs and windows burn first, and how much of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import Moment, OwnedEntitlement, remaining, standing

MAX_UNITS = 1_000_000_000
"""The most units that one call may name."""
MAX_TTL_SECONDS = 86_400


class Grant(OwnedEntitlement, Protocol):
    """Units that a subject has: a pack, or a window of what a subscription includes.

    Both are as good as the entitlement that they belong to, of which a decision reads.
    """

    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> Moment: ...
    @property
    def unit(self) -> str: ...
    @property
    def window_starts_at(self) -> Moment | None:
        """None for a pack."""
        ...

    @property
    def window_ends_at(self) -> Moment | None: ...


P = TypeVar("P", bound=Grant)


class Draw(NamedTuple):
    """Units taken from, or set aside in, one pack or window."""

    pack_id: str
    """The entitlement whose pack it is, or for which the window was opened."""
    units: int
    window_starts_at: Moment | None = None
    """None for a pack."""


class Balance(NamedTuple):
    """What the available packs and windows of one unit hold together."""

    remaining: int
    granted: int
    renews_at: Moment | None = None
    """When the next window of them begins; None where there are only packs."""


def named(grants: Iterable[P], unit: str, product_code: str | None = None) -> list[P]:
    """The grants of a unit, and of a product where one is named."""
    return [each for each in grants if each.unit == unit and product_code in {None, each.product_code}]


def balances(owned: Iterable[Grant], now: Moment) -> dict[str, Balance]:
    """What is left in the grants that are available at `now`, and what they began with, by unit."""
    found: dict[str, Balance] = {}
    for each in burning(owned, now):
        left, granted, renews_at = found.get(each.unit, Balance(0, 0))
        ends_at = each.window_ends_at
        # A window that is used beyond its end waits for the payment of the next one.
        if ends_at is not None and ends_at > now and (renews_at is None or ends_at < renews_at):
            renews_at = ends_at
        found[each.unit] = Balance(left + remaining(each), granted + each.granted_units, renews_at)
    return dict(sorted(found.items()))


def burning(owned: Iterable[P], now: Moment) -> list[P]:
    """The grants available at `now`, in the order in which they burn: soonest to end, then oldest."""
    grants = [
        each
        for each in owned
        if (each.kind == Kind.USAGE_PACK or each.window_starts_at is not None)
        and standing(each, now).available
    ]
    return sorted(grants, key=_place)


def _place(grant: Grant) -> tuple[Any, ...]:
    began, ends_at = grant.window_starts_at, grant.window_ends_at
    if began is None:
        began, ends_at = grant.created_at, grant.ends_at
    never = ends_at is None
    return never, began if never else ends_at, began, grant.id


def total(grants: Iterable[Grant]) -> int:
    """Units left in these grants together."""
    return sum(remaining(each) for each in grants)


def drawn(grants: Sequence[Grant], units: int) -> list[Draw]:
    """What `units` take of grants that are given in burning order and hold as many; none gives 0."""
    draws = []
    for each in grants:
        share = min(units, remaining(each))
        if share:
            draws.append(Draw(each.id, share, each.window_starts_at))
        units -= share
    if units:
        raise ValueError("the grants do not have that many units")
    return draws


def committed(holds: Sequence[Draw], units: int) -> list[Draw]:
    """What committing `units` of a reservation takes from each of its holds, the first ones first."""
    taken = []
    for hold in holds:
        share = min(units, hold.units)
        taken.append(hold._replace(units=share))
        units -= share
    return taken
