"""One side of a project, as every query takes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from licenzy.alignment.modes import Mode
from licenzy.kit.clock import Clock


class OfSide(Protocol):
    """What names the side that it belongs to: rows of most tables."""

    @property
    def project_id(self) -> str: ...
    @property
    def mode(self) -> Mode: ...


@dataclass(frozen=True, slots=True)
class Scope:
    """One side of a project: what every query takes first."""

    project_id: str
    mode: Mode
    clock_offset: timedelta = field(default=timedelta(), compare=False)
    """How far the side's clock was moved ahead of ours: only those of the Stripe sandbox can be.

    Zero unless the scope was read together with its connection, as `connections.queries.with_clock` does.
    """

    @classmethod
    def of(cls, row: OfSide) -> Scope:
        """The side that a row belongs to, its clock unread."""
        return cls(row.project_id, row.mode)

    @property
    def other(self) -> Scope:
        """The project's side in the other mode, its clock unread."""
        return Scope(self.project_id, self.mode.other)

    def now(self, clock: Clock) -> datetime:
        """The side's own time, by which access is decided: `clock`'s, moved by the offset."""
        return self.at(clock())

    def at(self, real: datetime) -> datetime:
        """The side's own time when it is `real` by our clock."""
        return real + self.clock_offset
