"""The strip that shows access over the account's time: where it was, where it stands, how long it is paid.

Pure; all places are percents of the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from licenzy.lab.rules import Holdings, StepShown

_TONES = {
    **dict.fromkeys(("active", "trialing"), "good"),
    **dict.fromkeys(("past_due", "paused"), "warn"),
    "suspended": "bad",
}
_LEAST = timedelta(days=1)
_MARGIN = 0.06


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in one tone: good, warn, bad or none."""

    left: float
    width: float
    tone: str
    label: str
    ahead: bool = False
    """Whether it lies ahead: paid for, and not yet lived."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a step happened."""

    left: float
    number: int


@dataclass(frozen=True, slots=True)
class AccessTimeline:
    """Access over time."""

    begins: datetime
    now: datetime
    ends: datetime
    now_left: float
    paid_until: datetime | None
    segments: tuple[Segment, ...]
    marks: tuple[Mark, ...]
    """At most one for each place that can be told apart."""


def access_timeline(steps: Sequence[StepShown], current: Holdings) -> AccessTimeline:
    """The strip of a history, newest step first, up to what is held now."""
    lived = list(reversed(steps))
    begins = lived[0].at if lived else current.at
    paid_until = current.valid_until
    last = max(current.at, paid_until or current.at)
    ends = last + max(_LEAST, (last - begins) * _MARGIN)
    whole = ends - begins

    def left(at: datetime) -> float:
        return round(min(1.0, max(0.0, (at - begins) / whole)) * 100, 2)

    def segment(start: datetime, end: datetime, state: Holdings, *, ahead: bool = False) -> Segment:
        return Segment(left(start), round(left(end) - left(start), 2), _tone(state), _label(state), ahead)

    found: list[Segment] = []
    for index, step in enumerate(lived):
        following = lived[index + 1] if index + 1 < len(lived) else None
        until = following.at if following else current.at
        turned = _turn(step)
        if turned is not None:
            found.append(segment(step.at, turned, step.before))
        found.append(segment(turned or step.at, until, step.after))
    if paid_until is not None and paid_until > current.at and current.status != "canceled":
        found.append(segment(current.at, paid_until, current, ahead=True))
    return AccessTimeline(
        begins=begins,
        now=current.at,
        ends=ends,
        now_left=left(current.at),
        paid_until=paid_until,
        segments=tuple(each for each in found if each.width > 0),
        marks=_apart([Mark(left(step.at), step.number) for step in lived]),
    )


def _turn(step: StepShown) -> datetime | None:
    """When, while the clock moved, what was held came to its end; none when it stayed as it was."""
    if step.before.allowed == step.after.allowed:
        return None
    end = step.before.valid_until
    return end if end is not None and step.at < end < step.after.at else None


def _apart(marks: list[Mark]) -> tuple[Mark, ...]:
    """The last mark of each place: dots on top of each other cannot be told apart."""
    places = {round(mark.left): mark for mark in marks}
    return tuple(places.values())


def _tone(state: Holdings) -> str:
    if state.allowed:
        return "good"
    tone = _TONES.get(state.status, "none")
    return "warn" if tone == "good" else tone


def _label(state: Holdings) -> str:
    words = state.status.replace("_", " ") if state.owned else "nothing owned"
    return f"{words}: {'has access' if state.allowed else 'no access'}"
