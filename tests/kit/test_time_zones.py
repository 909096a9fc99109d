"""Time zones: what they are called, and what a time on a clock means around its changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from licenzy.kit.time_zones import to_instant, to_local, zone, zone_label, zone_names


def test_there_are_zones_to_choose_from() -> None:
    assert zone_names()[0] == "UTC"
    assert {"Europe/Berlin", "America/New_York", "Asia/Kolkata"} <= set(zone_names())
    assert not [name for name in zone_names() if name.startswith(("Etc/", "posix"))]


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/localtime", "a\0b"])
def test_a_zone_that_nobody_knows_is_utc(name: str) -> None:
    assert zone(name) is UTC


@pytest.mark.parametrize(
    ("name", "at", "label"),
    [
        ("Europe/Berlin", datetime(2026, 11, 30, 9, tzinfo=UTC), "CET"),
        ("Europe/Berlin", datetime(2026, 7, 1, 9, tzinfo=UTC), "CEST"),
        ("Asia/Kathmandu", datetime(2026, 7, 1, 9, tzinfo=UTC), "UTC+5:45"),
        ("America/Sao_Paulo", datetime(2026, 7, 1, 9, tzinfo=UTC), "UTC-3"),
        ("UTC", datetime(2026, 7, 1, 9, tzinfo=UTC), "UTC"),
    ],
)
def test_zones_are_named(name: str, at: datetime, label: str) -> None:
    assert zone_label(at.astimezone(zone(name))) == label


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        (datetime(2026, 1, 15, 12), datetime(2026, 1, 15, 11, tzinfo=UTC)),
        (datetime(2026, 7, 15, 12), datetime(2026, 7, 15, 10, tzinfo=UTC)),
        # Clocks go from 02:00 to 03:00 on 29 March, and from 03:00 to 02:00 on 25 October.
        (datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 3, 0), datetime(2026, 10, 25, 2, 0, tzinfo=UTC)),
    ],
)
def test_a_time_on_a_clock_in_berlin(local: datetime, instant: datetime) -> None:
    assert to_instant(local, zone("Europe/Berlin")) == instant


def test_a_time_beyond_the_calendar_is_an_end_of_it() -> None:
    first, last = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59)
    assert to_instant(first, zone("Asia/Tokyo")) == datetime.min.replace(tzinfo=UTC)
    assert to_instant(last, zone("America/New_York")) == datetime.max.replace(tzinfo=UTC)
    assert to_instant(last, zone("Asia/Tokyo")) == datetime(9999, 12, 31, 14, 59, tzinfo=UTC)


def test_an_instant_that_no_calendar_there_has_is_shown_as_its_end() -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert to_local(last, zone("Asia/Tokyo")).replace(tzinfo=None) == datetime.max
    assert to_local(first, zone("America/New_York")).replace(tzinfo=None) == datetime.min
    assert zone_label(to_local(last, zone("Asia/Tokyo"))) == "JST"
