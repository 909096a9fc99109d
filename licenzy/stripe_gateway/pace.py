"""How often an account at Stripe is called: a bound shared by many, and patience when Stripe asks for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from licenzy.errors import LicenzyError
from licenzy.stripe_gateway.translate import busy_seconds

T = TypeVar("T")

_IN_PASSING = (0.3, 0.9)
"""Seconds between the tries of a call that somebody waits for."""

_WITH_PATIENCE = (1.0, 2.0, 4.0, 8.0)
"""Seconds between the tries of a call that nobody waits for."""

_MOST_PATIENCE = 20.0
"""Seconds beyond which a `Retry-After` is not waited for: the work is put off instead."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The bound on how often one account is called, shared by all threads and processes that have it."""

    wait: Callable[[], None]
    """Returns when it is the caller's turn."""
    pause: Callable[[float], None]
    """Keeps everybody off the account for so many seconds."""


def in_passing(call: Callable[[], T], *, left: Callable[[], float]) -> T:
    """What `call` gives, tried again soon where Stripe asks for fewer calls and `left` seconds allow it."""
    for pause in _IN_PASSING:
        try:
            return call()
        except LicenzyError as refused:
            retry_after = busy_seconds(refused)
            if retry_after is None or (pause := _at_least(retry_after, pause)) >= left():
                raise
        time.sleep(pause)
    return call()


def with_patience(call: Callable[[], T], pace: Pace) -> T:
    """What `call` gives in its turn; where Stripe asks for fewer calls, the whole account rests a while."""
    for pause in _WITH_PATIENCE:
        pace.wait()
        try:
            return call()
        except LicenzyError as refused:
            retry_after = busy_seconds(refused)
            if retry_after is None or retry_after > _MOST_PATIENCE:
                raise
            pace.pause(_at_least(retry_after, pause))
    pace.wait()
    return call()


def _at_least(retry_after: float, pause: float) -> float:
    """The longer of both, spread a little, so that those who were refused together do not come together."""
    return max(retry_after, pause) * random.uniform(1.0, 1.3)
