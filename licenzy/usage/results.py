"""What becomes of a call that uses units. How it is told, the door knows that was called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Consumed:
    """All the units were taken."""

    units: int
    remaining: int
    """Units left in the available packs that such a call could draw, here as in all of these."""


@dataclass(frozen=True, slots=True)
class Refused:
    """None were taken or set aside: the available packs hold fewer."""

    remaining: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """All the units were set aside."""

    reservation_id: str
    units: int
    remaining: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Committed:
    """Some or all of what was set aside was consumed, and the rest given back."""

    units: int
    released: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Released:
    """All that was set aside was given back."""

    units: int
    remaining: int
