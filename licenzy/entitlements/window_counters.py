"""What stands in the row of a window, and what one window leaves to the next. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from licenzy.entitlements.windows import UnitWindows, Window, whole_seconds


class CountedWindow(Protocol):
    """The counters of a window that was opened: a row of `usage_windows`."""

    @property
    def granted_units(self) -> int: ...
    @property
    def carried_units(self) -> int: ...
    @property
    def used_units(self) -> int: ...
    @property
    def reserved_units(self) -> int: ...
    @property
    def overdrawn_units(self) -> int: ...


class Opening(NamedTuple):
    """A window that is due, and what it takes over from the one before."""

    window: Window
    carried_units: int
    overdrawn_units: int


def own_spent(row: CountedWindow) -> int:
    """What was taken of a window's own units, those set aside included; carried ones are drawn first."""
    return max(0, row.used_units + row.reserved_units + row.overdrawn_units - row.carried_units)


def granted(size: int, row: CountedWindow) -> int:
    """What a window grants: its size, and never less than what has been taken of it."""
    return max(size, own_spent(row))


def opening(window: Window, before: Window | None, spent_before: int) -> Opening:
    """What a window begins with, by what was taken of the own units of the one before."""
    if before is None or before.is_trial:
        return Opening(window, 0, 0)
    earned = before.earned_by(window)
    left, most = max(0, earned - spent_before), before.carries_at_most
    return Opening(window, left if most is None else min(left, most), max(0, spent_before - earned))


class OpenWindow(CountedWindow, Protocol):
    """What opening reads of the row of the last window that was opened."""

    @property
    def starts_at(self) -> datetime: ...


def due_window(included: UnitWindows, row: OpenWindow | None, now: datetime) -> Opening | None:
    """The window that a call at `now` has to open; None while the last one that was opened is usable.

    `row` is the last one that was opened of this unit.
    """
    present, before = included.at(whole_seconds(now))
    begun = whole_seconds(row.starts_at) if row is not None else None
    if present is None or (begun is not None and not included.is_later(present.starts_at, begun)):
        return None
    if row is None or begun is None:
        return opening(present, before, 0)
    return opening(present, before, spent_before(included, begun, own_spent(row), present))


def spent_before(included: UnitWindows, begun: int, spent: int, window: Window) -> int:
    """What was taken of the own units of the window before one, by the last that was opened before it.

    That one has the start `begun`, and so much was `spent` of its own units. Of those that nobody used since,
    only what comes off them is taken.
    """
    last = included.sized(begun)
    for each in included.between(begun, window.starts_at):
        spent = opening(each, last, spent).overdrawn_units
        if not spent:
            return 0
        last = each
    return spent


def size_now(included: UnitWindows | None, row: OpenWindow) -> int | None:
    """How many units the facts give in the window of a row; None where they do not know it any more."""
    if included is None:
        return 0
    window = included.sized(whole_seconds(row.starts_at))
    return window.units if window is not None else None
