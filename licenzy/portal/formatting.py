"""Dates, durations, numbers and names, written as people read them."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

from markupsafe import Markup, escape

from licenzy.portal.time_display import time_display
from licenzy.runtime import runtime


def ago(at: datetime | None) -> str:
    """`just now`, `5 minutes ago`, `yesterday`, or the day; `never` for None."""
    if at is None:
        return "never"
    seconds = int((runtime().clock() - at).total_seconds())
    for limit, size, word in ((3600, 60, "minute"), (86_400, 3600, "hour"), (30 * 86_400, 86_400, "day")):
        if 60 <= seconds < limit:
            count = seconds // size
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    return "just now" if seconds < 60 else day(at)


def day(at: datetime) -> str:
    """`23 Nov 2026`, in the zone and the format of the page."""
    return "".join(time_display().day_parts(at))


def day_parts(at: datetime) -> tuple[str, str, str]:
    """The same in parts: what stands before `23 Nov`, that, and what stands after it."""
    return time_display().day_parts(at)


def clock_time(at: datetime) -> str:
    """`10:30`, in the zone of the page."""
    return time_display().clock_time(at)


def instant(at: datetime) -> str:
    """`23 Nov 2026, 10:30 CET`."""
    return f"{day(at)}, {clock_time(at)} {time_display().zone_at(at)}"


def zone_words() -> str:
    """`UTC`, or `Europe/Berlin time`."""
    return time_display().zone_words


def number(count: int) -> str:
    """`12,345`, as amounts of money are written."""
    return f"{count:,}"


def event_name(name: str) -> Markup:
    """An event's type for a narrow place: it breaks after dots and underscores, and nowhere else."""
    parts = re.split(r"(?<=[._])", name)
    return Markup('<span class="event-name">{}</span>').format(Markup("<wbr>").join(map(escape, parts)))


def split_tail(text: str, tail: int) -> tuple[str, str]:
    """`text` as its start and the last `tail` characters, which stay visible when the start is cut.

    The tail is empty, so that only the end is cut, where a cut within could scramble the text: with letters
    that run from right to left, and where characters join into one, as accents and emoji do.
    """
    cut = len(text) - tail
    if tail <= 0 or cut <= 0 or any(map(_runs_left, text)) or any(map(_joins, text[cut - 1 :])):
        return text, ""
    return text[:cut], text[cut:]


def split_host(url: str) -> tuple[str, str]:
    """An address as `https://host:port` and the path with all that follows."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    host, slash, path = rest.partition("/")
    return scheme + mark + host, slash + path


def _runs_left(char: str) -> bool:
    return unicodedata.bidirectional(char) in {"R", "AL", "AN", "RLE", "RLO", "RLI"}


def _joins(char: str) -> bool:
    """Whether the character may be a part of a larger one: a mark, an emoji, an old Hangul letter."""
    return (unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf", "So", "Sk"} and not char.isascii()) or (
        "\u1100" <= char <= "\u11ff"
    )


def milliseconds(count: int) -> str:
    """`840 ms`, `10 s`, `1.5 s`: how long an attempt took."""
    if count < 1000:
        return f"{count} ms"
    return f"{count / 1000:.1f}".removesuffix(".0") + " s"


def browser_name(user_agent: str) -> str:
    """`Firefox on Linux`: a guess that is good enough to recognise one's own browsers by."""
    browsers = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    systems = (
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    )
    browser = next((name for mark, name in browsers if mark in user_agent), None)
    system = next((name for mark, name in systems if mark in user_agent), None)
    return " on ".join(part for part in (browser, system) if part) or "Unknown browser"
