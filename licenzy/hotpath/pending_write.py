"""What one caller of the committer waits for, in a thread or on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

from licenzy.db.engine import is_out_of_order
from licenzy.db.unit_of_work import log_failure
from licenzy.errors import DatabaseUnavailable

R = TypeVar("R")
T = TypeVar("T")


class PendingWrite(Generic[R, T]):
    """What one caller wants written, and what has become of it. Settled once, by the committer's thread."""

    __slots__ = (
        "_lock",
        "ends_at",
        "error",
        "future",
        "is_abandoned",
        "is_settled",
        "loop",
        "owner",
        "request",
        "result",
    )

    def __init__(self, request: R, ends_at: float) -> None:
        self.request = request
        self.ends_at = ends_at
        """Until when the caller waits, as `time.monotonic` tells it."""
        self.result: T | None = None
        self.error: BaseException | None = None
        self.is_settled = self.is_abandoned = False
        self.owner: object = None
        """The committer that has to settle it."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[None] | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.ends_at - time.monotonic())

    @property
    def is_wanted(self) -> bool:
        """Whether to begin it: its caller is still there and has time."""
        return not (self.is_settled or self.is_abandoned) and time.monotonic() < self.ends_at

    def succeed(self, result: T) -> None:
        """What it wrote is safe."""
        self.result, self.is_settled = result, True

    def fail(self, error: BaseException) -> None:
        """Nothing of it was written, or it cannot be told."""
        if not self.is_settled:
            self.error, self.is_settled = _worded(error), True

    def wait(self) -> bool:
        """For a caller in a thread: whether it was settled before the caller's time was up."""
        return self._lock.acquire(timeout=self.seconds_left)

    def wake(self) -> None:
        """Let a caller in a thread go on."""
        with suppress(RuntimeError):  # It was woken before.
            self._lock.release()

    def outcome(self) -> T:
        """The result. Raises what it failed with."""
        if self.error is not None:
            raise self.error
        return cast(T, self.result)


def answer(settled: Sequence[PendingWrite[Any, Any]]) -> None:
    """Wake the callers: each loop once, however many of its callers are answered."""
    loops: dict[asyncio.AbstractEventLoop, list[PendingWrite[Any, Any]]] = {}
    for each in settled:
        if each.loop is None:
            each.wake()
        else:
            loops.setdefault(each.loop, []).append(each)
    for loop, theirs in loops.items():
        with suppress(RuntimeError):  # The loop has been closed, and nobody waits.
            loop.call_soon_threadsafe(resolve, theirs)


def resolve(writes: Sequence[PendingWrite[Any, Any]]) -> None:
    """On their loop: let the callers go on."""
    for each in writes:
        if each.future is not None and not each.future.done():
            each.future.set_result(None)


def log_refusal(error: BaseException) -> None:
    """Log why calls are refused, where the database is at fault: they are told no more than that it is."""
    if is_out_of_order(error) or isinstance(error, OSError):
        log_failure(error)


def _worded(error: BaseException) -> BaseException:
    """A refusal of its own for each caller, where the database is at fault; else the error itself."""
    if isinstance(error, DatabaseUnavailable):
        unavailable, cause = DatabaseUnavailable(), error.__cause__
    elif is_out_of_order(error) or isinstance(error, OSError):
        unavailable, cause = DatabaseUnavailable(), error
    else:
        return error
    unavailable.__cause__ = cause
    return unavailable
