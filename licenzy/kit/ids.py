"""Prefixed ids that sort by the time of their making: `prj_` + 26 characters of Crockford base32."""

from __future__ import annotations

import os
import random
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
# Ten bits at a time: every request makes an id.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)
# Ids are names, not secrets. The system's own randomness would cost every request a system call, with
# the interpreter's lock let go and fought for again.
_chance = random.Random()
os.register_at_fork(after_in_child=_chance.seed)


def new_id(prefix: str) -> str:
    """A new id such as `att_01jd…`: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000 << 80) | _chance.getrandbits(80)
    return f"{prefix}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def has_shape(value: str, prefix: str) -> bool:
    """Whether `value` could be an id with this prefix; says nothing about its existence."""
    head, _, tail = value.partition("_")
    return head == prefix and len(tail) == _LENGTH and all(c in _ALPHABET for c in tail)
