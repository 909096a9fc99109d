"""Leases: work that one holder has to itself for a while, and that others may take afterwards. Pure.

A row keeps the end of its lease, or None while it has none. A lease ends by itself when its holder dies, so
its end proves nothing about the holder: whoever records a result must also compare what the claim was given,
a number or a name that the next claim changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a holder has a piece of work to itself."""

    lasts: timedelta

    def until(self, now: datetime) -> datetime:
        """When a lease that is taken now ends."""
        return now + self.lasts


def is_free(leased_until: datetime | None, now: datetime) -> bool:
    """Whether a new holder may take the work: there is no lease, or it has ended, at its last instant too."""
    return leased_until is None or leased_until <= now
