"""What a unit may be called, and how many of one may be granted at once. Pure."""

from __future__ import annotations

import re

UNITS_MAX = 1_000_000_000
UNIT_MAX = 32
UNIT_PATTERN = rf"^[a-z0-9_]{{1,{UNIT_MAX}}}$"
"""What the name of a unit is, as a regular expression of JSON Schema."""


def unit_problem(unit: str) -> str | None:
    """Why a unit cannot have this name; none when it can."""
    if re.fullmatch(UNIT_PATTERN, unit):
        return None
    return f"Use 1 to {UNIT_MAX} lower-case letters, digits or _"
