"""Prefixed ids that sort by the time of their making: `prj_` + 26 characters of Crockford base32."""

from __future__ import annotations

import os
import random
import threading
import time
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
_TIME_SHIFTS = (45, 40, 35, 30, 25, 20, 15, 10, 5, 0)
_TAIL_BITS = 64
_STEP_BITS = 32


def new_id(prefix: str) -> str:
    """A new id such as `att_01jd…`: 48 bits of milliseconds, then 64 bits that begin at random.

    The ids of one process rise strictly, so that rows of one millisecond list in the order of their making.
    Ids are names, not secrets: who knows one can narrow down the next, and nothing opens by knowing one.

    The second part is written in hexadecimal, whose digits base32 has as well: every request makes an id.
    """
    milliseconds, tail = _sequence.next()
    return f"{prefix}_{_time_part(milliseconds)}{tail:016x}"


class _Sequence:
    """What the ids of one process are made of: pairs of a millisecond and a tail that rise strictly.

    Within a millisecond, and while the clock is behind what was given out, the tail rises by random steps.
    """

    def __init__(self, milliseconds: int = 0) -> None:
        # The system's own randomness would cost every request a system call, with the interpreter's lock
        # let go and fought for again.
        self._chance = random.Random()
        self._lock = threading.Lock()
        self._milliseconds = milliseconds
        self._tail = self._first_tail()

    def next(self) -> tuple[int, int]:
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._milliseconds:
                self._milliseconds, self._tail = now, self._first_tail()
            else:
                self._tail += 1 + self._chance.getrandbits(_STEP_BITS)
                if self._tail >> _TAIL_BITS:
                    self._milliseconds, self._tail = self._milliseconds + 1, self._first_tail()
            return self._milliseconds, self._tail

    def for_a_fork(self) -> _Sequence:
        """One of a child's own, above everything that was given out before the fork."""
        return _Sequence(self._milliseconds + 1)

    def _first_tail(self) -> int:
        # Its highest bit is left for the steps, of which there is then room for thousands of millions.
        return self._chance.getrandbits(_TAIL_BITS - 1)


_sequence = _Sequence()


def _after_fork() -> None:
    # The lock may have been held by a thread that the child does not have.
    global _sequence
    _sequence = _sequence.for_a_fork()


os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=4)
def _time_part(milliseconds: int) -> str:
    return "".join([_ALPHABET[milliseconds >> shift & 31] for shift in _TIME_SHIFTS])


def has_shape(value: str, prefix: str) -> bool:
    """Whether `value` could be an id with this prefix; says nothing about its existence."""
    head, _, tail = value.partition("_")
    return head == prefix and len(tail) == _LENGTH and all(c in _ALPHABET for c in tail)


def id_in(word: str, prefix: str) -> str | None:
    """A stranger's word where it could be an id with this prefix, else None.

    Only such words are looked up: databases refuse to look for NUL and surrogates.
    """
    return word if has_shape(word, prefix) else None


def milliseconds_of(value: str) -> int:
    """When an id that has its shape was made, by the clock of its process: milliseconds since 1970."""
    made = 0
    for character in value.rpartition("_")[2][: len(_TIME_SHIFTS)]:
        made = made << 5 | _ALPHABET.index(character)
    return made
