"""Windows of included units: computed from facts when somebody asks, never scheduled. Pure.

A product may include units: so many images each month. A paid period opens windows, each with a start, an end
and a size. What is known of them stands with the entitlement: the last few, and the steps at which the later
ones of the last paid period follow. So a plan that is paid for a year needs no row and no job until its units
are used.

All instants here are whole seconds since 1970, in UTC.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, dropwhile, pairwise
from typing import Any, NamedTuple

from licenzy.entitlements.term_versions import TermVersions
from licenzy.kit.clock import EPOCH

STEP_SECONDS = {"day": 86_400, "week": 7 * 86_400}
"""How long a window of a fixed length is."""
FOR_GOOD = int(datetime(9000, 1, 1, tzinfo=UTC).timestamp())
"""The end of what has none: early enough for a step that begins after it."""
MOST_UNITS = 2**53 - 1
"""The largest size of a window, whatever the quantity: every JSON reader keeps it exactly."""
_KEPT = 4
"""How many of the last windows stand with the entitlement: the present one, those before it, and the first of
a period that was paid ahead of its start."""


@dataclass(frozen=True, slots=True)
class Window:
    """Units from one instant to another."""

    starts_at: int
    ends_at: int
    """When the next one is due; one that a new period cut short keeps the end that it had before."""
    opens_at: int
    """From when on it can be used: its start, or the payment of its period where that came later."""
    units: int
    """What the facts grant in it."""
    carries_at_most: int | None
    """How many of its unused units stay usable in the next one; None is all of them."""
    credits_from: int | None = None
    """From when on its period's invoice gave back the time of the period before; None where it did not."""
    is_trial: bool = False

    def earned_by(self, after: Window | None) -> int:
        """The units that its time was paid for, once the next window has opened."""
        if after is None or after.credits_from is None or after.credits_from >= self.ends_at:
            return self.units
        passed = after.credits_from - self.starts_at
        return self.units * max(0, passed) // (self.ends_at - self.starts_at)


@dataclass(frozen=True, slots=True)
class Steps:
    """How windows go on until the end of what is paid."""

    every: str
    anchor: int
    until: int
    """No window begins at this instant or later."""
    units: int
    carries_at_most: int | None

    def window(self, number: int) -> Window:
        starts_at = step_start(self.every, self.anchor, number)
        ends_at = step_start(self.every, self.anchor, number + 1)
        return Window(starts_at, ends_at, starts_at, self.units, self.carries_at_most)


class Around(NamedTuple):
    """The window of an instant, and the one before it."""

    present: Window | None
    before: Window | None


@dataclass(frozen=True, slots=True)
class UnitWindows:
    """One unit that an entitlement includes."""

    unit: str
    low_units: int | None
    """`usage.low` is sent when what is left of a window falls to this many; None sends nothing."""
    windows: tuple[Window, ...]
    """The last ones that any fact bears on, in the order in which they open.

    That is not always the order of their starts: a period that begins early and is paid late opens its window
    after those that the period before it went on to open.
    """
    steps: Steps | None
    """How they go on after the last of these."""

    def at(self, now: int) -> Around:
        """The window that is usable at `now`, or was last, and the one before it."""
        opened = [each for each in self.windows if each.opens_at <= now]
        if not opened:
            return Around(None, None)
        last = self.windows[-1]
        if opened[-1] is last and self.steps is not None and now >= last.ends_at:
            number = step_number(self.steps.every, self.steps.anchor, min(now, self.steps.until - 1))
            present = self.steps.window(number)
            if present.starts_at >= last.ends_at:
                before = self.steps.window(number - 1)
                return Around(present, before if before.starts_at >= last.ends_at else last)
        return Around(opened[-1], opened[-2] if len(opened) > 1 else None)

    def next_opening(self, after: int | None) -> int | None:
        """When the first window opens that follows the one with this start; None while none is paid for.

        Without `after`, when the first one opened.
        """
        known = self.windows if after is None else self._following(after)
        if known:
            return known[0].opens_at
        steps = self.steps
        if steps is None or not self.windows:
            return None
        begun = max(after or 0, self.windows[-1].ends_at - 1)
        start = step_start(steps.every, steps.anchor, step_number(steps.every, steps.anchor, begun) + 1)
        return start if start < steps.until else None

    def is_later(self, starts_at: int, other: int) -> bool:
        """Whether the window with one start opens after the window with another."""
        starts = [each.starts_at for each in self.windows]
        if starts_at in starts and other in starts:
            return starts.index(starts_at) > starts.index(other)
        return starts_at > other

    def between(self, after: int, until: int) -> Iterator[Window]:
        """The windows that open between those with these starts, as far as they are still known."""
        for each in self._following(after):
            if each.starts_at == until:
                return
            yield each
        steps = self.steps
        if steps is None:
            return
        number = step_number(steps.every, steps.anchor, max(after, self.windows[-1].ends_at - 1)) + 1
        while (window := steps.window(number)).starts_at < min(until, steps.until):
            yield window
            number += 1

    def _following(self, starts_at: int) -> Sequence[Window]:
        """Those of the last windows that open after the one with this start."""
        for number, each in enumerate(self.windows, 1):
            if each.starts_at == starts_at:
                return self.windows[number:]
        return [each for each in self.windows if each.starts_at > starts_at]

    def sized(self, starts_at: int) -> Window | None:
        """The window that begins at an instant; None where there is none that is still known."""
        for each in self.windows:
            if each.starts_at == starts_at:
                return each
        steps = self.steps
        if steps is None or starts_at >= steps.until or starts_at < self.windows[-1].ends_at:
            return None
        window = steps.window(step_number(steps.every, steps.anchor, starts_at))
        return window if window.starts_at == starts_at else None

    def before(self, starts_at: int) -> Window | None:
        """The window before the one that begins at an instant, as far as it is still known."""
        for before, each in pairwise((None, *self.windows)):
            if each is not None and each.starts_at == starts_at:
                return before
        steps = self.steps
        if steps is not None and starts_at > self.windows[-1].ends_at:
            return steps.window(step_number(steps.every, steps.anchor, starts_at) - 1)
        return next((each for each in reversed(self.windows) if each.starts_at < starts_at), None)

    def to_json(self) -> dict[str, Any]:
        """What the entitlement's row has of it."""
        return asdict(self) | {"windows": [asdict(each) for each in self.windows]}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> UnitWindows:
        windows = tuple(Window(**each) for each in stored["windows"])
        steps = Steps(**stored["steps"]) if stored["steps"] is not None else None
        return cls(stored["unit"], stored["low_units"], windows, steps)


def included_of(stored: Sequence[Mapping[str, Any]] | None) -> list[UnitWindows]:
    """The included units that stand with an entitlement."""
    return [UnitWindows.of_json(each) for each in stored or ()]


# --- steps -----------------------------------------------------------------------------------------------


def step_start(every: str, anchor: int, number: int) -> int:
    """When a step begins, counted from the anchor; months have its day and time, or their last day."""
    if every != "month":
        return anchor + number * STEP_SECONDS[every]
    first = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(first.year * 12 + first.month - 1 + number, 12)
    day = min(first.day, calendar.monthrange(year, month + 1)[1])
    return int(first.replace(year=year, month=month + 1, day=day).timestamp())


def step_number(every: str, anchor: int, at: int) -> int:
    """The number of the step that an instant is in."""
    if every != "month":
        return (at - anchor) // STEP_SECONDS[every]
    first, then = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(at, UTC)
    number = (then.year - first.year) * 12 + then.month - first.month
    return number if step_start(every, anchor, number) <= at else number - 1


# --- from paid time to windows -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Level:
    """How many units one window's time would give, from an instant on."""

    since: int
    units: TermVersions[int]


@dataclass(slots=True)
class Stretch:
    """Time that is paid for, with one rule of windows."""

    starts_at: int
    ends_at: int
    opens_at: int
    every: str
    """`period`, `day`, `week` or `month`."""
    anchor: int
    carries_at_most: TermVersions[int | None]
    levels: list[Level]
    is_fresh: bool = False
    """Whether its first window begins with it, whatever window was running."""
    credits_before: bool = False
    is_trial: bool = False

    @property
    def begins_to_open(self) -> int:
        """When its first window opens."""
        return max(self.starts_at, self.opens_at)

    @property
    def end_of_last_window(self) -> int:
        if self.every == "period":
            return self.ends_at
        number = step_number(self.every, self.anchor, self.ends_at - 1)
        return step_start(self.every, self.anchor, number + 1)


def windows_of(
    unit: str,
    low_units: int | None,
    stretches: Sequence[Stretch],
    adjusted: Mapping[int, int],
) -> UnitWindows | None:
    """The windows of one unit in the time that is paid for; None where there are none.

    `adjusted` are units that an operator added, by the start of their window.
    """
    lasting = [each for each in stretches if each.starts_at < each.ends_at]
    # A later run without units ends what the one before it left; before the first units there is nothing.
    runs = list(dropwhile(_is_empty, _runs(lasting)))
    if not runs:
        return None
    found: list[Window] = []
    steps: Steps | None = None
    for run, after in zip(runs, [*(run[0] for run in runs[1:]), None], strict=True):
        windows, steps = _windows_of_run(run, after, adjusted)
        found = [*found, *windows][-_KEPT:]
    return UnitWindows(unit, low_units, tuple(found), steps) if found else None


def _is_empty(run: Sequence[Stretch]) -> bool:
    return not any(
        units
        for each in run
        for level in each.levels
        for units in level.units.before(each.end_of_last_window)
    )


def _runs(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Stretches in which windows run on, one after the other."""
    runs: list[list[Stretch]] = []
    for each in stretches:
        last = runs[-1][-1] if runs else None
        runs_on = (
            last is not None
            and not each.is_fresh
            and each.every == last.every != "period"
            and each.starts_at <= last.end_of_last_window
            and not (each.is_trial or last.is_trial)
        )
        if runs_on:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _windows_of_run(
    run: Sequence[Stretch], after: Stretch | None, adjusted: Mapping[int, int]
) -> tuple[list[Window], Steps | None]:
    """The last windows of a run that open before the time after it does, and how they go on."""
    first, last = run[0], run[-1]
    until = after.begins_to_open if after is not None else FOR_GOOD
    credits_from = first.starts_at if first.credits_before else None
    if first.every == "period":
        if first.begins_to_open >= until:
            return [], None
        over_at = min(first.ends_at, until)
        units = _size(first.levels, first.starts_at, first.ends_at, over_at)
        units += adjusted.get(first.starts_at, 0)
        window = Window(
            first.starts_at,
            first.ends_at,
            first.begins_to_open,
            _bounded(units),
            first.carries_at_most.before(over_at)[-1],
            credits_from,
            first.is_trial,
        )
        return [window], None
    levels = [level for each in run for level in each.levels]
    end = min(last.ends_at, until)
    # The last instant that a fact bears on: from the next window on, all are alike.
    begun = [level.since for level in levels]
    changed = [each.carries_at_most for each in run] + [level.units for level in levels]
    given = [since for versions in changed for since, _ in versions.given]
    bears = max(last.starts_at, last.opens_at, *begun, *given, *adjusted.keys(), 0)
    through = min(bears, end - 1) if after is None else end - 1
    every, anchor = last.every, last.anchor
    number = step_number(every, anchor, max(through, first.starts_at))
    windows: list[Window] = []
    # One more than is kept: the first that opens says what its period gave back.
    for each in count(number, -1):
        starts_at = max(step_start(every, anchor, each), first.starts_at)
        ends_at = step_start(every, anchor, each + 1)
        # First of all, since nothing may begin before the end of a run whose time is another one's.
        if ends_at <= first.starts_at:
            break
        if starts_at >= end:
            continue
        place = max(index for index, part in enumerate(run) if part.starts_at <= starts_at)
        paid, then = run[place], run[place + 1] if place + 1 < len(run) else after
        opens_at = max(starts_at, paid.opens_at)
        # What was over when it was paid is passed over, but for the last window of a period of which all was.
        is_usable = opens_at < ends_at or ends_at >= paid.ends_at
        is_left = then is None or (opens_at < then.begins_to_open and starts_at != then.starts_at)
        if is_usable and is_left:
            over_at = min(ends_at, until)
            units = _size(levels, starts_at, ends_at, over_at) + adjusted.get(starts_at, 0)
            carries = paid.carries_at_most.before(over_at)[-1]
            windows.insert(0, Window(starts_at, ends_at, opens_at, _bounded(units), carries))
        if starts_at <= first.starts_at or len(windows) > _KEPT:
            break
    if windows and len(windows) <= _KEPT:
        windows[0] = replace(windows[0], credits_from=credits_from)
    windows = windows[-_KEPT:]
    if after is not None or step_start(every, anchor, number + 1) >= last.ends_at:
        return windows, None
    units = _bounded(levels[-1].units.latest)
    return windows, Steps(every, anchor, last.ends_at, units, last.carries_at_most.latest)


def _bounded(units: int) -> int:
    """A size that the database keeps, also of a quantity that is negative or has no bounds."""
    return min(max(0, units), MOST_UNITS)


def _size(levels: Sequence[Level], starts_at: int, ends_at: int, over_at: int) -> int:
    """Units by the seconds that each level was had in a window, rounded up once.

    Terms that were given when the window was over by `over_at` do not reach it.
    """
    seconds = 0
    for level, after in zip(levels, [*levels[1:], None], strict=True):
        begun = max(level.since, starts_at)
        ended = min(after.since if after is not None else ends_at, ends_at)
        seconds += level.units.before(over_at)[-1] * max(0, ended - begun)
    return -(-seconds // (ends_at - starts_at))


def whole_seconds(at: datetime) -> int:
    """An instant in whole seconds: a window opens with the second in which it begins."""
    return (at - EPOCH) // timedelta(seconds=1)
