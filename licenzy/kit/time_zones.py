"""Time zones by their IANA names, as far as this machine knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

UTC_NAME = "UTC"


@cache
def zone_names() -> Sequence[str]:
    """The zones to choose from: places, and UTC first. UTC alone where the machine has no time zone data."""
    places = (name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))
    return (UTC_NAME, *sorted(places))


def zones_by_region() -> Mapping[str, Sequence[str]]:
    """The same, each under the part of the world that its name begins with; UTC under `Universal`."""
    regions: dict[str, list[str]] = {}
    for name in zone_names():
        region, slash, _place = name.partition("/")
        regions.setdefault(region if slash else "Universal", []).append(name)
    return regions


@cache
def zone(name: str) -> tzinfo:
    """The zone of this name; UTC for one that this machine does not know, so that pages still open."""
    if name == UTC_NAME:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def zone_label(at: datetime) -> str:
    """What the zone of `at` is called at that time: `CET`, `CEST`, or `UTC+5:30` where it has no letters."""
    name = at.tzname() or ""
    if name.isalpha():
        return name
    return offset_label(at.utcoffset() or timedelta())


def offset_label(offset: timedelta) -> str:
    """`UTC+5:30`, `UTC-3`, `UTC`."""
    minutes = round(offset.total_seconds() / 60)
    if not minutes:
        return UTC_NAME
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02}" if rest else "")


def to_instant(local: datetime, place: tzinfo) -> datetime:
    """The instant at which clocks there show `local`, in UTC.

    A time that they show twice, when they are put back, is the first one. One that they skip is as long
    after the skip as it would have been after the last minute before it. One of the years 1 and 9999 that
    is beyond the calendar of UTC is where that begins or ends.
    """
    try:
        return local.replace(tzinfo=place, fold=0).astimezone(UTC)
    except OverflowError:
        return (datetime.min if local.year == 1 else datetime.max).replace(tzinfo=UTC)


def to_local(at: datetime, place: tzinfo) -> datetime:
    """What clocks there show at an instant; where that is beyond the calendar, the end of it."""
    try:
        return at.astimezone(place)
    except OverflowError:
        return (datetime.min if at.year == 1 else datetime.max).replace(tzinfo=place)


def days_there(
    first: date | None, last: date | None, place: tzinfo
) -> tuple[datetime | None, datetime | None]:
    """When the first day begins there, and when the last one is over, in UTC.

    None where no day is given, and for the end of the last day that the calendar has.
    """
    since = to_instant(datetime.combine(first, time()), place) if first is not None else None
    after = last + timedelta(days=1) if last is not None and last < date.max else None
    return since, to_instant(datetime.combine(after, time()), place) if after is not None else None
