"""Versions of a product's terms in words, and what differs between two of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from licenzy.catalog.rules import split_duration

_NAMES = {
    "adds": "limits add to those of other products",
    "duration_seconds": "lasts",
    "included": "included units",
}
_WITHOUT = {"adds": False}
"""What a version means that lacks a term, where that is not nothing."""
_NONE = "none"


class TermDifference(NamedTuple):
    """One term, before and after, as people read it."""

    name: str
    before: str
    after: str


def term_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[TermDifference]:
    """The terms that differ, by name; one that a version lacks is `none` there."""
    found = []
    for key in sorted({*before, *after}):
        was, is_now = (terms.get(key, _WITHOUT.get(key)) for terms in (before, after))
        if was != is_now:
            found.append(TermDifference(term_name(key), term_text(key, was), term_text(key, is_now)))
    return found


def term_name(key: str) -> str:
    """What people call a term: `grace_days` are `grace days`."""
    return _NAMES.get(key, key.replace("_", " "))


def term_text(key: str, value: Any) -> str:
    """The value of a term: `export, api`, `3`, `30 days`, `projects: 10, seats: unlimited`."""
    if value is None or value in ([], {}):
        return _NONE
    if key == "duration_seconds":
        amount, unit = split_duration(value)
        return f"{amount:,} {unit[:-1] if amount == 1 else unit}"
    if isinstance(value, list):
        return ("; " if isinstance(value[0], Mapping) else ", ").join(map(_item_text, value))
    return _item_text(value)


def _item_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        if {"unit", "units", "every"} <= value.keys():
            return _included_text(value)
        # A limit without a number is none at all.
        return ", ".join(
            f"{code}: {'unlimited' if limit is None else _item_text(limit)}"
            for code, limit in sorted(value.items())
        )
    return str(value)


def _included_text(line: Mapping[str, Any]) -> str:
    text = f"{line['units']:,} {line['unit']} per {line['every']}"
    if line.get("rollover"):
        most = line["rollover"].get("at_most")
        text += " with rollover" if most is None else f" with rollover of at most {most:,}"
    if line.get("trial_units") is not None:
        text += f", {line['trial_units']:,} in a trial"
    return text
