"""How often an account at Stripe is called: a bound shared by many, and patience when Stripe asks for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from licenzy.errors import LicenzyError
from licenzy.kit.backoff import Backoff, Random
from licenzy.stripe_gateway.translate import busy_seconds

T = TypeVar("T")

_JITTER = (1.0, 1.3)
_IN_PASSING = Backoff(first=0.3, factor=3.0, longest=0.9, jitter=_JITTER)
"""Between the tries of a call that somebody waits for, of which there are three."""

_WITH_PATIENCE = Backoff(first=1.0, longest=8.0, jitter=_JITTER)
"""Between the tries of a call that nobody waits for, of which there are five."""

_MOST_PATIENCE = 20.0
"""Seconds beyond which a `Retry-After` is not waited for: the work is put off instead."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The bound on how often one account is called, shared by all threads and processes that have it."""

    wait: Callable[[], None]
    """Returns when it is the caller's turn."""
    pause: Callable[[float], None]
    """Keeps everybody off the account for so many seconds."""


def in_passing(call: Callable[[], T], *, left: Callable[[], float], random: Random = random.random) -> T:
    """What `call` gives, tried again soon where Stripe asks for fewer calls and `left` seconds allow it."""
    for failures in (1, 2):
        try:
            return call()
        except LicenzyError as refused:
            asked = busy_seconds(refused)
            if asked is None:
                raise
            pause = _IN_PASSING.seconds(failures, random, at_least=asked)
            if pause >= left():
                raise
        time.sleep(pause)
    return call()


def with_patience(call: Callable[[], T], pace: Pace, random: Random = random.random) -> T:
    """What `call` gives in its turn; where Stripe asks for fewer calls, the whole account rests a while."""
    for failures in (1, 2, 3, 4):
        pace.wait()
        try:
            return call()
        except LicenzyError as refused:
            asked = busy_seconds(refused)
            if asked is None or asked > _MOST_PATIENCE:
                raise
            pace.pause(_WITH_PATIENCE.seconds(failures, random, at_least=asked))
    pace.wait()
    return call()
