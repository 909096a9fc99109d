"""Until when a caller waits for the database: one instant for all that a request asks of it.

Whatever waits (for a connection, a lock, an answer) asks here how long it may. Instants are those of
`time.monotonic`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

CALL_SECONDS = 5.0
"""How long a request waits for the database, everything together."""

WAIT_SECONDS = 15.0
"""How long each single wait of what has no deadline may take: the worker's jobs, commands."""

_ends_at: ContextVar[float | None] = ContextVar("deadline", default=None)


def ends_at() -> float:
    """When the caller's time is up; WAIT_SECONDS from now where nobody set a deadline."""
    end = _ends_at.get()
    return time.monotonic() + WAIT_SECONDS if end is None else end


def seconds_left() -> float:
    """How long the caller still waits; 0 when the time is up."""
    return max(0.0, ends_at() - time.monotonic())


def is_set() -> bool:
    """Whether somebody has set a deadline."""
    return _ends_at.get() is not None


@contextmanager
def until(instant: float) -> Iterator[None]:
    """Have everything in the block end at this instant, in place of any deadline around it."""
    token = _ends_at.set(instant)
    try:
        yield
    finally:
        _ends_at.reset(token)


def within(seconds: float) -> AbstractContextManager[None]:
    """Have everything in the block end in so many seconds, in place of any deadline around it."""
    return until(time.monotonic() + seconds)


@contextmanager
def for_each_wait() -> Iterator[None]:
    """Have each single wait in the block take up to WAIT_SECONDS: for files, as long as they may be."""
    token = _ends_at.set(None)
    try:
        yield
    finally:
        _ends_at.reset(token)


@contextmanager
def standing_still() -> Iterator[None]:
    """For waiting for somebody else, such as Stripe: what the block lasts is added to the deadline."""
    began = time.monotonic()
    try:
        yield
    finally:
        end = _ends_at.get()
        if end is not None:
            _ends_at.set(end + time.monotonic() - began)
