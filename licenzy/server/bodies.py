"""Bodies read on the loop, within limits of size, time and memory: a slow client holds nothing else."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from granian._granian import RSGIProtocolClosed

from licenzy.errors import LicenzyError, Overloaded, RequestTimeout
from licenzy.server.limits import (
    IGNORED_SECONDS,
    MOST_BYTES,
    MOST_IGNORED_BYTES,
    MOST_SLOW_BODIES,
    SLOW_SECONDS,
    Route,
)
from licenzy.server.proxies import TrustedProxies
from licenzy.server.wsgi import Headers, RsgiScope

_CHECK_EVERY = 0.25
"""How often the bodies that are being read are looked through for those whose time is up."""


async def ignore(proto: Any) -> None:
    """Take from its sender, and forget, what goes on arriving of a body whose request has been refused.

    A connection that is closed on somebody who still sends is reset, and the answer may be lost with it:
    a proxy then answers 502 instead. So it is left open until the body ends, up to the limits.
    """
    ignored = 0
    with suppress(TimeoutError, RSGIProtocolClosed):
        async with asyncio.timeout(IGNORED_SECONDS):
            async for piece in proto:
                ignored += len(piece)
                if ignored > MOST_IGNORED_BYTES:
                    return


class PendingBody:
    """A body that is or was read, and the task that reads it."""

    __slots__ = ("began", "counted_bytes", "error", "headers", "length", "route", "scope", "task")

    def __init__(
        self, task: asyncio.Task[Any], scope: RsgiScope, headers: Headers, route: Route, length: int
    ) -> None:
        self.task, self.scope, self.headers, self.route = task, scope, headers, route
        self.length = length
        self.counted_bytes = length
        """What it counts for among the bytes that the process holds."""
        self.began = time.monotonic()
        self.error: LicenzyError | None = None
        """Why it was ended before it was whole."""


class Bodies:
    """All that one process reads, or has read and not yet answered. Belongs to one loop."""

    def __init__(self, proxies: TrustedProxies) -> None:
        self._proxies = proxies
        self._unfinished: dict[PendingBody, None] = {}
        """Oldest first."""
        self._counted_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to look for bodies whose time is up."""
        self._sweep(asyncio.get_running_loop())

    def close(self) -> None:
        """Look no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def begin(self, length: int, scope: RsgiScope, headers: Headers, route: Route) -> PendingBody:
        """Make room for a body that the current task will read. Raises Overloaded when there is none.

        Whoever calls this must `release` the body once its request is answered.
        """
        if self._counted_bytes + length > MOST_BYTES:
            self._make_room(length)
        task = asyncio.current_task()
        assert task is not None
        body = PendingBody(task, scope, headers, route, length)
        self._unfinished[body] = None
        self._counted_bytes += length
        return body

    async def read(self, body: PendingBody, proto: Any) -> bytes:
        """The whole body. Raises what it was ended with, and RSGIProtocolClosed for one that breaks off."""
        try:
            # Only so: what is read piece by piece cannot be told from a body that broke off.
            read: bytes = await proto()
        except asyncio.CancelledError:
            if body.error is None:
                raise
            body.task.uncancel()
            raise body.error from None
        finally:
            self._unfinished.pop(body, None)
        if len(read) != body.length:
            raise RSGIProtocolClosed
        return read

    def release(self, body: PendingBody) -> None:
        """Count its bytes no longer."""
        self._counted_bytes -= body.counted_bytes
        body.counted_bytes = 0

    def end_all(self, error: LicenzyError) -> None:
        """Answer all that are not whole with `error`."""
        for body in list(self._unfinished):
            self._end(body, error)

    def _end(self, body: PendingBody, error: LicenzyError) -> None:
        del self._unfinished[body]
        self.release(body)
        body.error = error
        body.task.cancel()

    def _make_room(self, length: int) -> None:
        """End the oldest slow bodies until there is room: quick ones are not refused for them."""
        now = time.monotonic()
        for body in list(self._unfinished):
            if self._counted_bytes + length <= MOST_BYTES or now - body.began < SLOW_SECONDS:
                break
            self._end(body, RequestTimeout())
        if self._counted_bytes + length > MOST_BYTES:
            raise Overloaded

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the bodies whose time is up, and the oldest slow ones of an address that has too many."""
        now = time.monotonic()
        slow: dict[str, list[PendingBody]] = {}
        for body in list(self._unfinished):
            age = now - body.began
            if age >= body.route.seconds:
                self._end(body, RequestTimeout())
            elif age >= SLOW_SECONDS:
                slow.setdefault(self._proxies.client(body.scope, body.headers), []).append(body)
        for of_one_address in slow.values():
            for body in of_one_address[:-MOST_SLOW_BODIES]:
                self._end(body, RequestTimeout())
        self._timer = loop.call_later(_CHECK_EVERY, self._sweep, loop)
