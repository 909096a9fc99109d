"""Windows of included units as pages show them: the present one, and what became of those before. Pure.

What nobody used and was not carried over is computed here, and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import Entitlement, UsageWindow
from licenzy.entitlements.window_counters import opening, own_spent
from licenzy.entitlements.windows import UnitWindows, Window, included_of, step_number, whole_seconds
from licenzy.kit.clock import from_micros, from_unix, to_micros
from licenzy.usage.grants import WindowGrant

MOST_SHOWN = 12
"""How many windows of a unit are shown at the most."""


class WindowPart(NamedTuple):
    """A part of a window's units, with its place in percents of the width."""

    name: str
    """`used`, `reserved`, `carried` (what is left of carried units) or `left` (of its own)."""
    units: int
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class WindowShown:
    """One window of a unit."""

    unit: str
    starts_at: datetime
    ends_at: datetime
    own_units: int
    """What it granted, without what was carried into it."""
    carried: int = 0
    overdrawn: int = 0
    """What was taken of the window before beyond what its time was paid for."""
    used: int = 0
    reserved: int = 0
    forfeited: int | None = None
    """What was left when it was over and could not be carried over; None while it is not over."""

    @property
    def granted(self) -> int:
        """All that it began with."""
        return max(0, self.own_units + self.carried - self.overdrawn)

    @property
    def remaining(self) -> int:
        return max(0, self.granted - self.used - self.reserved)

    @property
    def parts(self) -> tuple[WindowPart, ...]:
        """What became of its units, those that are left last: carried ones are drawn first."""
        carried = max(0, self.carried - self.overdrawn - self.used - self.reserved)
        units = {
            "used": self.used,
            "reserved": self.reserved,
            "carried": carried,
            "left": self.remaining - carried,
        }
        whole = max(1, sum(units.values()))
        found, before = [], 0
        for name, count in units.items():
            if count > 0:
                found.append(
                    WindowPart(name, count, round(before / whole * 100, 2), round(count / whole * 100, 2))
                )
            before += max(0, count)
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """For the database; `of_json` reads it."""
        instants = {"starts_at": to_micros(self.starts_at), "ends_at": to_micros(self.ends_at)}
        return asdict(self) | instants

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> WindowShown:
        instants = {name: from_micros(stored[name]) for name in ("starts_at", "ends_at")}
        return cls(**{**stored, **instants})


class Column(NamedTuple):
    """A window in a strip of them, the newest last. Places are percents of the width, heights are pixels."""

    window: WindowShown
    left: float
    width: float
    height: float
    used_height: float


def strip(windows: Sequence[WindowShown], height: int) -> list[Column]:
    """The windows as columns, as high as what they granted."""
    most = max((each.granted for each in windows), default=0) or 1
    width = 100 / MOST_SHOWN
    return [
        Column(
            each,
            round(place * width, 2),
            round(width * 0.8, 2),
            max(2.0, round(each.granted / most * height, 1)),
            round(min(each.used, each.granted) / most * height, 1),
        )
        for place, each in enumerate(windows)
    ]


@dataclass(frozen=True, slots=True)
class UnitShown:
    """One unit that an entitlement includes."""

    unit: str
    present: WindowShown | None
    """The window that can be used now, or was last; None before the first."""
    windows: tuple[WindowShown, ...]
    """The last ones that were used, oldest first, with the present one."""
    available: bool
    """Whether the entitlement is available."""
    is_between: bool
    """Whether the present one is over, and usable until the next period is paid."""
    is_trial: bool
    ends_with: datetime | None
    """When the entitlement ends, where no window follows the present one."""
    beyond: int
    """What was taken of it beyond what it includes now: this comes off the next one."""


def units_shown(
    entitlement: Entitlement,
    grants: Iterable[WindowGrant],
    recent: Iterable[UsageWindow],
    now: datetime,
) -> list[UnitShown]:
    """What an entitlement includes. `grants` are its present windows, and `recent` its last rows."""
    present = {each.unit: each.window for each in grants if each.entitlement.id == entitlement.id}
    opened = [row for row in recent if row.entitlement_id == entitlement.id]
    available = standing(entitlement, now).available
    found = []
    for included in included_of(entitlement.included):
        row = present.get(included.unit)
        rows = _in_order([*(each for each in opened if each.unit == included.unit), *([row] if row else ())])
        windows = _shown(included, rows)
        size = included.sized(whole_seconds(row.starts_at)) if row is not None else None
        found.append(
            UnitShown(
                unit=included.unit,
                present=windows[-1] if row is not None else None,
                windows=tuple(windows[-MOST_SHOWN:]),
                available=available,
                is_between=row is not None and available and row.ends_at <= now,
                is_trial=size is not None and size.is_trial,
                ends_with=_end_before_next(entitlement, row),
                beyond=max(0, own_spent(row) - size.units) if row is not None and size is not None else 0,
            )
        )
    return found


def _in_order(rows: Iterable[UsageWindow]) -> list[UsageWindow]:
    """Each window once; a row that was read twice is the one that was given last."""
    return sorted({row.starts_at: row for row in rows}.values(), key=lambda row: row.starts_at)


def _end_before_next(entitlement: Entitlement, row: UsageWindow | None) -> datetime | None:
    """When an entitlement is set to end, where that is no later than its present window."""
    end = entitlement.cancel_at
    if end is None and entitlement.source == "portal":
        end = entitlement.ends_at
    return end if row is not None and end is not None and end <= row.ends_at else None


def _shown(included: UnitWindows, rows: Sequence[UsageWindow]) -> list[WindowShown]:
    shown = []
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        window = WindowShown(
            row.unit,
            row.starts_at,
            row.ends_at,
            row.granted_units,
            row.carried_units,
            row.overdrawn_units,
            row.used_units,
            row.reserved_units,
        )
        forfeited = _forfeited(included, row, after) if after is not None else None
        shown.append(replace(window, forfeited=forfeited))
    return shown


def _forfeited(included: UnitWindows, row: UsageWindow, after: UsageWindow) -> int:
    """What was left of a window, its carried units included, and is not in the one that followed it."""
    size, follows = included.sized(whole_seconds(row.starts_at)), after.starts_at <= row.ends_at
    earned = row.granted_units
    if size is not None and follows:
        # Time that was given back is not lost, so its units are not either.
        earned = min(earned, size.earned_by(included.sized(whole_seconds(after.starts_at))))
    taken = row.used_units + row.reserved_units + row.overdrawn_units
    left = max(0, row.carried_units - taken) + max(0, earned - own_spent(row))
    return max(0, left - (after.carried_units if follows else 0))


def windows_around(
    entitlement: Entitlement,
    grants: Iterable[WindowGrant],
    recent: Iterable[UsageWindow],
    now: datetime,
) -> list[WindowShown]:
    """The windows of all units that an entitlement includes, those ahead that are paid for as well.

    Of each unit as many as are shown at the most, in order.
    """
    shown = {unit.unit: unit for unit in units_shown(entitlement, grants, recent, now)}
    found: list[WindowShown] = []
    for included in included_of(entitlement.included):
        known = {each.starts_at: each for each in shown[included.unit].windows}
        computed = _computed(included, whole_seconds(now))
        for window, before in zip(computed, [None, *computed], strict=False):
            starts_at = from_unix(window.starts_at)
            if starts_at not in known:
                known[starts_at] = _unused(included.unit, window, before, known, now)
        together = [known[each] for each in sorted(known)]
        begun = sum(each.starts_at <= now for each in together)
        first = max(0, min(begun - MOST_SHOWN // 2, len(together) - MOST_SHOWN))
        found += together[first : first + MOST_SHOWN]
    return found


def _computed(included: UnitWindows, now: int) -> list[Window]:
    """The windows that are known of, and those around `now` that follow by steps."""
    steps = included.steps
    if steps is None:
        return list(included.windows)
    first = step_number(steps.every, steps.anchor, included.windows[-1].ends_at)
    last = step_number(steps.every, steps.anchor, steps.until - 1)
    present = step_number(steps.every, steps.anchor, min(now, steps.until - 1))
    numbers = range(max(first, present - MOST_SHOWN), min(last, present + MOST_SHOWN) + 1)
    return [*included.windows, *map(steps.window, numbers)]


def _unused(
    unit: str, window: Window, before: Window | None, known: Mapping[datetime, WindowShown], now: datetime
) -> WindowShown:
    """A window that no call has drawn. What will be carried into one ahead is not known yet."""
    starts_at, ends_at = from_unix(window.starts_at), from_unix(window.ends_at)
    if starts_at > now:
        return WindowShown(unit, starts_at, ends_at, window.units)
    drawn = known.get(from_unix(before.starts_at)) if before is not None else None
    spent = max(0, drawn.used + drawn.reserved + drawn.overdrawn - drawn.carried) if drawn is not None else 0
    opens = opening(window, before, spent)
    return WindowShown(unit, starts_at, ends_at, window.units, opens.carried_units, opens.overdrawn_units)
