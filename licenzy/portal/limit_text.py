"""A limit as people write and read it: a whole number, or `unlimited`."""

from __future__ import annotations

import re

UNLIMITED = "unlimited"

_WHOLE = re.compile(r"[0-9]{1,16}")


def limit_value(written: str) -> int | None:
    """The limit that somebody wrote; None is unlimited. Raises ValueError."""
    word = written.strip().lower()
    if word == UNLIMITED:
        return None
    if not _WHOLE.fullmatch(word):
        raise ValueError("neither a whole number nor unlimited")
    return int(word)


def limit_text(value: int | None) -> str:
    """A limit as pages show it."""
    return UNLIMITED if value is None else f"{value:,}"
