"""Which test proves which row of the tables in docs/entitlements.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

PROVEN: dict[str, list[str]] = {}
"""Row keys with the names of the tests that prove them."""

T = TypeVar("T", bound=Callable[..., Any])


def row(*keys: str) -> Callable[[T], T]:
    """Say which rows a test proves."""

    def note(test: T) -> T:
        for key in keys:
            PROVEN.setdefault(key, []).append(test.__name__)
        return test

    return note
