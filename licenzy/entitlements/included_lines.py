"""What the terms of a purchase say of the units that it includes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

IncludedLine = Mapping[str, Any]
"""What a product's terms say of one unit: `units`, `every`, `rollover`, …"""


def line_for(lines: Sequence[IncludedLine], unit: str) -> IncludedLine | None:
    """What included lines say of one unit."""
    return next((line for line in lines if line["unit"] == unit), None)


def units_of(line: IncludedLine | None) -> int:
    """How many units a line includes; none without one."""
    return line["units"] if line is not None else 0


def carried_by(line: IncludedLine | None) -> int | None:
    """How many unused units a line carries over at most; None is all of them."""
    rollover = line["rollover"] if line is not None else None
    return 0 if rollover is None else rollover["at_most"]
