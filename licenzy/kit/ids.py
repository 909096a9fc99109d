"""Prefixed ids that sort by the time of their making: `prj_` + 26 characters of Crockford base32."""

from __future__ import annotations

import os
import random
import time
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
_TIME_SHIFTS = (45, 40, 35, 30, 25, 20, 15, 10, 5, 0)
# Ids are names, not secrets. The system's own randomness would cost every request a system call, with
# the interpreter's lock let go and fought for again.
_chance = random.Random()
os.register_at_fork(after_in_child=_chance.seed)


def new_id(prefix: str) -> str:
    """A new id such as `att_01jd…`: 48 bits of milliseconds, then 64 random bits.

    The random part is written in hexadecimal, whose digits base32 has as well: every request makes an id.
    """
    return f"{prefix}_{_time_part(time.time_ns() // 1_000_000)}{_chance.getrandbits(64):016x}"


@lru_cache(maxsize=4)
def _time_part(milliseconds: int) -> str:
    return "".join([_ALPHABET[milliseconds >> shift & 31] for shift in _TIME_SHIFTS])


def has_shape(value: str, prefix: str) -> bool:
    """Whether `value` could be an id with this prefix; says nothing about its existence."""
    head, _, tail = value.partition("_")
    return head == prefix and len(tail) == _LENGTH and all(c in _ALPHABET for c in tail)
