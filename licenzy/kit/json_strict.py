"""JSON as a contract reads it: one object, UTF-8, no duplicate keys, no NaN, no deep nesting.

Flask's own reader takes UTF-16, a byte order mark, NaN and duplicate keys, and answers 500 to deep
nesting; this is the one place where bodies are parsed.
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 32


class NotStrictJson(ValueError):
    """The bytes are not a strict JSON object."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object in `raw`. Raises NotStrictJson for anything else; never RecursionError."""
    try:
        text = raw.decode("utf-8")
        # Counting openers is an upper bound of the depth and costs next to nothing for real bodies.
        if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
            raise NotStrictJson(f"nested more than {MAX_DEPTH} levels deep")
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise NotStrictJson(str(error)) from None
    if not isinstance(value, dict):
        raise NotStrictJson("the top level is not an object")
    return value


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotStrictJson("a key appears twice in one object")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrictJson("a number is out of range")
    return number


def _refuse_constant(name: str) -> Any:
    raise NotStrictJson(f"{name} is not JSON")


def _depth(text: str) -> int:
    """The deepest nesting outside of strings, by one pass without recursion."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_pairs, parse_float=_finite, parse_constant=_refuse_constant
)
