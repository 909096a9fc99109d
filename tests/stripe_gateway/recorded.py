"""Payloads that Stripe sent to other projects, kept beside the repository and not in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "stripe" / "events"


def payloads() -> list[tuple[str, dict[str, Any]]]:
    """All recorded payloads with their file names; skips the test where the folder is not there."""
    if not FOLDER.is_dir():
        pytest.skip(f"the recorded Stripe payloads are not at {FOLDER}")
    found = [(path.name, json.loads(path.read_bytes())) for path in sorted(FOLDER.glob("*.json"))]
    assert len(found) >= 50
    return found


def events() -> list[tuple[str, dict[str, Any]]]:
    """Those that are events; where only the object was kept, an envelope is put around it."""
    return [(name, _event(name, value)) for name, value in payloads() if "--response." not in name]


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


def _event(name: str, value: dict[str, Any]) -> dict[str, Any]:
    if value.get("object") == "event":
        return value
    data = value if isinstance(value.get("object"), dict) else value["data"]
    return {
        "id": "evt_1",
        "object": "event",
        "type": name.split("--")[1],
        "created": 1_753_900_000,
        "livemode": False,
        "api_version": None,
        "data": data,
    }
