"""When a billing period ends. Months and years keep the anchor's day, or take the month's last."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from licenzy.stripe_sandbox.version import Json


def end_after(anchor: int, recurring: Json, start: int) -> int:
    """The first billing date later than `start`, counted from `anchor`; all in seconds since 1970."""
    return containing(anchor, recurring, max(anchor, start))[1]


def containing(anchor: int, recurring: Json, at: int) -> tuple[int, int]:
    """The billing period that `at` lies in, counted from `anchor`, which may lie ahead; all in seconds since
    1970."""
    if at < anchor:
        return at, anchor
    step: int = recurring["interval_count"]
    if recurring["interval"] in ("day", "week"):
        length = step * (86400 if recurring["interval"] == "day" else 604800)
        start = anchor + length * ((at - anchor) // length)
        return start, start + length
    months, turn = step * (12 if recurring["interval"] == "year" else 1), 0
    while (end := _months_later(anchor, (turn + 1) * months)) <= at:
        turn += 1
    return _months_later(anchor, turn * months), end


def earlier(at: int, recurring: Json, turns: int) -> int:
    """So many periods before `at`, both in seconds since 1970."""
    step: int = recurring["interval_count"] * turns
    if recurring["interval"] in ("day", "week"):
        return at - step * (86400 if recurring["interval"] == "day" else 604800)
    return _months_later(at, -step * (12 if recurring["interval"] == "year" else 1))


def _months_later(anchor: int, months: int) -> int:
    began = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(began.year * 12 + began.month - 1 + months, 12)
    day = min(began.day, calendar.monthrange(year, month + 1)[1])
    midnight = datetime(year, month + 1, day, tzinfo=UTC)
    return int(
        (midnight + timedelta(hours=began.hour, minutes=began.minute, seconds=began.second)).timestamp()
    )
