"""Values of a configuration file, checked as they are read. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class Invalid(Exception):
    """What is wrong with a value, as the rest of a sentence that begins with its key."""


class InvalidKey(Invalid):
    """A key that cannot stand in a table, as a sentence of its own."""


def whole(value: object) -> int:
    """A whole number that any database keeps."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid("must be a whole number, such as 3.")
    if abs(value) >= 2**63:
        raise Invalid("must be a smaller number.")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Invalid("must be true or false.")
    return value


def text(value: object) -> str:
    """Text that any database keeps."""
    if not isinstance(value, str):
        raise Invalid("must be text in quotation marks.")
    if "\0" in value:
        raise Invalid("must not have a NUL character.")
    return value


def texts(value: object) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid('must be a list of texts, such as ["a", "b"].')
    return [text(each) for each in value]


def tables(value: object, *, header: str) -> list[dict[str, Any]]:
    """A list of tables, each of which may stand under its `header`."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Invalid(f"must be a list of tables. Begin each of them with [[{header}]].")
    return value


def only_keys(
    value: object, known: tuple[str, ...], *, unsupported: tuple[str, ...] = (), example: str
) -> dict[str, Any]:
    """A table with no other keys than these."""
    if not isinstance(value, dict):
        raise Invalid(f"must be a table, such as {example}.")
    for key in value:
        if (problem := key_problem(key, known, unsupported)) is not None:
            raise InvalidKey(problem)
    return value


def key_problem(key: str, known: Iterable[str], unsupported: Iterable[str] = ()) -> str | None:
    """Why a key cannot stand there, as a sentence; None for a known one."""
    known, unsupported = tuple(known), tuple(unsupported)
    if key in known:
        return None
    if key in unsupported:
        return f"{key} is not supported by this version. Remove it."
    shown = key if key.isprintable() and 0 < len(key) <= 40 else "This key"
    near = get_close_matches(key, (*known, *unsupported), n=1)
    fix = f"Did you mean {near[0]}?" if near else f"Use {choices(known)}."
    return f"{shown} is not a known key. {fix}"


def choices(words: Iterable[str]) -> str:
    """The words as a sentence lists them: `a`, `a or b`, `a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
