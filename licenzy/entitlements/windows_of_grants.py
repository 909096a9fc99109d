"""The windows of a subscription product that an operator granted without a purchase. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from licenzy.entitlements.included_lines import IncludedLine, carried_by, line_for, units_of
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.windows import FOR_GOOD, Level, Stretch, UnitWindows, whole_seconds, windows_of


def windows_of_grant(
    included: TermVersions[Sequence[IncludedLine]], at: datetime, adjusted: Mapping[str, Mapping[int, int]]
) -> list[UnitWindows]:
    """The windows of each unit that the product includes.

    A grant has no periods: what a product includes in each of them comes with each month. `adjusted` are
    units that an operator added, by unit and by the start of their window.
    """
    found = []
    for unit in dict.fromkeys(line["unit"] for lines in included.values for line in lines):
        lines = included.map(lambda each, unit=unit: line_for(each, unit))  # type: ignore[misc]
        known = [line for line in lines.values if line is not None]
        stretches = _stretches(lines, known[0], whole_seconds(at))
        windows = windows_of(unit, known[-1].get("low_units"), stretches, adjusted.get(unit, {}))
        if windows is not None:
            found.append(windows)
    return found


def _stretches(lines: TermVersions[IncludedLine | None], first: IncludedLine, start: int) -> list[Stretch]:
    """Time without end; terms with another rule of windows begin a new window when they are given."""
    stretches: list[Stretch] = []
    for since, line in ((start, first), *lines.given):
        every = _every(line) if line is not None else stretches[-1].every
        if not stretches or every != stretches[-1].every:
            is_other = bool(stretches)
            stretches.append(
                Stretch(
                    since,
                    FOR_GOOD,
                    since,
                    every,
                    start,
                    lines.map(carried_by),
                    [Level(since, lines.map(units_of))],
                    is_fresh=is_other,
                    credits_before=is_other,
                )
            )
    return stretches


def _every(line: IncludedLine) -> str:
    return "month" if line["every"] == "period" else str(line["every"])
