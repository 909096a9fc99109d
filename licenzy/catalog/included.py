"""The units that a product includes: what a line says, and which lines a product may have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from licenzy.catalog.unit_names import UNITS_MAX, unit_problem

LINES_MAX = 10
"""How many lines a product may have."""


class Every(StrEnum):
    """How long a grant of included units lasts before the next one, shortest first."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    PERIOD = "period"
    """From one renewal of the price to the next."""


@dataclass(frozen=True, slots=True)
class Rollover:
    """That units left over are usable until the next grant is over too."""

    at_most: int | None = None
    """How many of them; none for all."""


@dataclass(frozen=True, slots=True)
class IncludedUnits:
    """How many of one unit a product includes, and how often."""

    unit: str
    units: int
    every: Every = Every.PERIOD
    rollover: Rollover | None = None
    """Without it, units left over are forfeited."""
    trial_units: int | None = None
    """How many a trial has in all; none for as many as `units`."""
    low_units: int | None = None
    """`usage.low` is sent when what is left falls to this many, once per grant; none sends nothing."""

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> IncludedUnits:
        """The line that `to_json` wrote, in a product or in the terms of a purchase."""
        rollover = line["rollover"]
        return cls(
            unit=line["unit"],
            units=line["units"],
            every=Every(line["every"]),
            rollover=Rollover(rollover["at_most"]) if rollover is not None else None,
            trial_units=line.get("trial_units"),
            low_units=line.get("low_units"),
        )

    def to_json(self) -> dict[str, Any]:
        """The line as it is stored; equal lines are written alike."""
        optional = {"trial_units": self.trial_units, "low_units": self.low_units}
        return {
            "unit": self.unit,
            "units": self.units,
            "every": self.every.value,
            "rollover": {"at_most": self.rollover.at_most} if self.rollover is not None else None,
            **{name: value for name, value in optional.items() if value is not None},
        }


class Renewing(Protocol):
    """A price, as far as it says how often it renews."""

    @property
    def interval(self) -> str | None: ...

    @property
    def interval_count(self) -> int | None: ...


def lines_of(stored: Iterable[Mapping[str, Any]]) -> tuple[IncludedUnits, ...]:
    """The lines of a product, or of the terms of a purchase, as they are stored."""
    return tuple(map(IncludedUnits.from_json, stored))


def line_problems(lines: Sequence[IncludedUnits], *, is_sold: bool = True) -> dict[str, str]:
    """What is wrong with the lines, by field: `included`, or one of a line, such as `included-0-units`."""
    problems = {} if is_sold else _free_problems(lines)
    if len(lines) > LINES_MAX:
        problems["included"] = f"At most {LINES_MAX} included units."
    seen: set[str] = set()
    for place, line in enumerate(lines):
        if wrong := unit_problem(line.unit):
            problems[field_of(place, "unit")] = wrong
        elif line.unit in seen:
            problems[field_of(place, "unit")] = (
                f"{line.unit} is included already. Use one line for each unit."
            )
        seen.add(line.unit)
        for name, number in _numbers(line):
            if number is not None and not 0 <= number <= UNITS_MAX:
                problems[field_of(place, name)] = "A whole number from 0 to 1 000 000 000."
    return problems


def _numbers(line: IncludedUnits) -> Iterable[tuple[str, int | None]]:
    yield "units", line.units
    yield "at_most", line.rollover.at_most if line.rollover is not None else None
    yield "trial_units", line.trial_units
    yield "low_units", line.low_units


def field_of(place: int, name: str) -> str:
    """The name by which a problem of one line is known; `place` counts from 0."""
    return f"included-{place}-{name}"


def step_problems(lines: Sequence[IncludedUnits], prices: Iterable[Renewing]) -> dict[str, str]:
    """The lines whose step is longer than the interval of a price that the product is sold at, by field."""
    prices = list(prices)
    return {
        field_of(place, "every"): f"A price of this product renews every {interval_text(price)}. "
        "Grant the units as often as that, or more often."
        for place, line in enumerate(lines)
        if (price := next((each for each in prices if not fits(line.every, each)), None)) is not None
    }


def _free_problems(lines: Sequence[IncludedUnits]) -> dict[str, str]:
    """What of the lines a product without a price cannot have, by field."""
    problems: dict[str, str] = {}
    for place, line in enumerate(lines):
        if line.every is Every.PERIOD:
            problems[field_of(place, "every")] = (
                "A free product has no billing period. Pick day, week or month."
            )
        if line.rollover is not None:
            problems[field_of(place, "rollover")] = (
                "Units of a free product do not carry over. Turn this off."
            )
        if line.trial_units is not None:
            problems[field_of(place, "trial_units")] = "A free product has no trial. Leave this empty."
    return problems


def price_step_problem(lines: Iterable[IncludedUnits], price: Renewing) -> str | None:
    """Why a product with these lines cannot be sold at this price; none when it can."""
    for line in lines:
        if not fits(line.every, price):
            return (
                f"This price renews every {interval_text(price)}, and the product includes {line.unit} every "
                f"{line.every}. Pick a price that renews less often, or change the included units first."
            )
    return None


def fits(every: Every, price: Renewing) -> bool:
    """Whether a step is never longer than the interval at which the price renews."""
    if every is Every.PERIOD or price.interval is None or every.value == price.interval:
        return True
    return _LONGEST_DAYS[every] <= _SHORTEST_DAYS[price.interval] * (price.interval_count or 1)


def terms_text(line: IncludedUnits) -> str:
    """All that a line says but its unit: `1,000 each month, at most 500 carry over, 50 in a trial`."""
    parts = [f"{line.units:,} each {line.every}"]
    if line.rollover is not None:
        at_most = line.rollover.at_most
        parts.append("all unused carry over" if at_most is None else f"at most {at_most:,} carry over")
    if line.trial_units is not None:
        parts.append(f"{line.trial_units:,} in a trial")
    if line.low_units is not None:
        parts.append(f"usage.low at {line.low_units:,}")
    return ", ".join(parts)


def interval_text(price: Renewing) -> str:
    """The interval of a recurring price after the word every: `month`, `3 months`."""
    count = price.interval_count or 1
    return f"{price.interval}" if count == 1 else f"{count} {price.interval}s"


_LONGEST_DAYS = {Every.DAY: 1, Every.WEEK: 7, Every.MONTH: 31}
_SHORTEST_DAYS = {"day": 1, "week": 7, "month": 28, "year": 365}
