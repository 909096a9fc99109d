"""Prefixed ids that sort by the time of their making: `prj_` + 26 characters of Crockford base32."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26


def new_id(prefix: str) -> str:
    """A new id such as `att_01jd…`: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{prefix}_{''.join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))}"


def has_shape(value: str, prefix: str) -> bool:
    """Whether `value` could be an id with this prefix; says nothing about its existence."""
    head, _, tail = value.partition("_")
    return head == prefix and len(tail) == _LENGTH and all(c in _ALPHABET for c in tail)
