"""Versions of a product's terms in words, and what differs between two of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from licenzy.catalog.included import IncludedUnits, terms_text
from licenzy.catalog.rules import duration_text

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
        return duration_text(value)
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
            line = IncludedUnits.from_json(value)
            return f"{line.unit}: {terms_text(line)}"
        # A limit without a number is none at all.
        return ", ".join(
            f"{code}: {'unlimited' if limit is None else _item_text(limit)}"
            for code, limit in sorted(value.items())
        )
    return str(value)
