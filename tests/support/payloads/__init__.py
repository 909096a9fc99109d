"""Payloads as Stripe sends them: the current API's, saved, and the shapes of older API versions made of them.

The saved ones were made by `recording.py` and are held against Stripe's description of its API
(`tests/contract`); what older versions kept in other places is in `older.py`, with the change that moved it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.payloads.older import older_events

Json = dict[str, Any]
FOLDER = Path(__file__).parent
CURRENT = "current"
ANSWERS = "answers"


def current_events() -> list[tuple[str, Json]]:
    """Events of the API version that the sandbox speaks, with their names."""
    return _saved(CURRENT)


def answers() -> list[tuple[str, Json]]:
    """What the API answers, objects and lists of them: signed by somebody, they would be no events."""
    return _saved(ANSWERS)


def events() -> list[tuple[str, Json]]:
    """Events of the current API version and of older ones, with their names. Not to be changed."""
    return [*current_events(), *older_events(current_events())]


def one_of_each_shape() -> list[tuple[str, Json]]:
    """Of the events about each kind of object the first, in the current API version and in older ones."""
    first: dict[str, tuple[str, Json]] = {}
    for name, value in current_events():
        first.setdefault(value["data"]["object"]["object"], (name, value))
    return [*first.values(), *older_events(list(first.values()))]


@functools.cache
def _saved(part: str) -> list[tuple[str, Json]]:
    return [(path.stem, json.loads(path.read_bytes())) for path in sorted((FOLDER / part).glob("*.json"))]


def paths(value: Any, depth: int) -> Iterator[tuple[Any, ...]]:
    """The way to every field of nested objects, at most `depth` names long; lists count as nothing."""
    if isinstance(value, Mapping) and depth > 0:
        for name, inner in value.items():
            yield (name,)
            yield from ((name, *rest) for rest in paths(inner, depth - 1))
    elif isinstance(value, list):
        for at, inner in enumerate(value[:2]):
            yield from ((at, *rest) for rest in paths(inner, depth))


DROPPED = object()


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    """A copy in which the field at `path` has another value, or is DROPPED."""
    name, *rest = path
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    if rest:
        copy[name] = changed(value[name], tuple(rest), to)
    elif to is DROPPED:
        del copy[name]
    else:
        copy[name] = to
    return copy
