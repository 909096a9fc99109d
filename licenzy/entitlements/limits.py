"""How many of something a subject may have: one number out of all that it has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from licenzy.catalog.rules import LIMIT_VALUE_MAX

Limits: TypeAlias = Mapping[str, int | None]
"""By code; None is unlimited."""


class TotalLimit(NamedTuple):
    """The largest number that a subject may reach; None is unlimited."""

    value: int | None

    def allows(self, present: int) -> bool:
        """Whether one more may be added to the `present` number."""
        return self.value is None or present < self.value


class LimitSource(Protocol):
    """What gives limits: an entitlement that is available, or the default product."""

    @property
    def limits(self) -> Limits: ...
    @property
    def adds(self) -> bool: ...
    @property
    def quantity(self) -> int: ...


def limit_of(code: str, sources: Iterable[LimitSource]) -> TotalLimit | None:
    """The limit that these give together; None where none of them names it.

    The largest base counts, however many of it there are. What `adds` comes on top of it, once for each of
    its quantity. No sum is above LIMIT_VALUE_MAX, which answers can still carry.
    """
    base, added, is_named = 0, 0, False
    for source in sources:
        limits = source.limits
        if code not in limits:
            continue
        value = limits[code]
        if value is None:
            return TotalLimit(None)
        is_named = True
        if source.adds:
            added += value * source.quantity
        else:
            base = max(base, value)
    return TotalLimit(min(base + added, LIMIT_VALUE_MAX)) if is_named else None


def limits_of(sources: Sequence[LimitSource], overrides: Sequence[LimitSource]) -> dict[str, int | None]:
    """All limits by code, in order. What an override names it decides alone."""
    found = {code: limit for code in _codes(sources) if (limit := limit_of(code, sources)) is not None}
    found |= {code: limit for code in _codes(overrides) if (limit := limit_of(code, overrides)) is not None}
    return {code: limit.value for code, limit in sorted(found.items())}


def _codes(sources: Iterable[LimitSource]) -> set[str]:
    return {code for source in sources for code in source.limits}
