"""Stripe's form encoding, undone strictly: `line_items[0][price]=x` becomes nested maps."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from licenzy.stripe_sandbox.errors import InvalidParameter
from licenzy.stripe_sandbox.version import Json

_NAME = re.compile(r"[^\[\]]+(\[[^\[\]]*\])*\Z")
_DEEPEST = 10


def decode(encoded: bytes) -> Json:
    """Nested maps of strings; lists stay maps from "0", "1", … until a parameter says that it is a list."""
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=2000,
        )
    except (UnicodeDecodeError, ValueError):
        raise InvalidParameter("Invalid request: the body is not valid form-encoded UTF-8.") from None
    root: Json = {}
    for name, value in pairs:
        _place(root, name, value)
    return root


def _place(root: Json, name: str, value: str) -> None:
    if not _NAME.match(name) or name.count("[") > _DEEPEST:
        raise InvalidParameter(f"Invalid parameter name: {name[:80]}", param=name[:80])
    if "\x00" in value:
        raise InvalidParameter(f"Invalid character in {name}: null bytes are not allowed.", param=name)
    keys = name.replace("]", "").split("[")
    level = root
    for key in keys[:-1]:
        key = key or str(len(level))
        inner = level.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InvalidParameter(f"Invalid hash: {name}", param=name)
        level = inner
    last = keys[-1] or str(len(level))
    if isinstance(level.get(last), dict):
        raise InvalidParameter(f"Invalid hash: {name}", param=name)
    level[last] = value
