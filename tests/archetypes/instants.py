"""The instants of stories, as people write them: `Apr 16 12:00`, in UTC, from March to the March after."""

from __future__ import annotations

import time
from datetime import UTC, datetime

TOLERANCE_SECONDS = 300
"""The account's clock goes on with real time, so what begins at an instant begins some seconds later."""


class Calendar:
    """Twelve months from the first 1 March that is later than now."""

    def __init__(self, now: float) -> None:
        year = datetime.fromtimestamp(now, UTC).year
        self.year = year if datetime(year, 3, 1, tzinfo=UTC).timestamp() > now else year + 1

    def seconds(self, instant: str) -> int:
        """The instant in seconds since 1970. January and February are of the next year, as is everything
        that ends in `next year`."""
        named, next_year, _ = instant.partition(" next year")
        month = datetime.strptime(f"2000 {named}", "%Y %b %d %H:%M").month
        year = self.year + (1 if next_year or month < 3 else 0)
        return int(datetime.strptime(f"{year} {named} +0000", "%Y %b %d %H:%M %z").timestamp())

    def is_near(self, instant: str, shown: str | None) -> bool:
        """Whether what an answer shows is the instant."""
        if shown is None:
            return False
        return abs(datetime.fromisoformat(shown).timestamp() - self.seconds(instant)) <= TOLERANCE_SECONDS


def calendar_from_today() -> Calendar:
    return Calendar(time.time())
