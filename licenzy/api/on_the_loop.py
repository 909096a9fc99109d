"""The hottest calls on the event loop of a process, for the front that has one.

Each runs what stands behind its route, without Flask; what takes more than one read or one commit is left
to Flask and a thread, which answer the whole call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

from licenzy.api.access import check_on_loop
from licenzy.api.incoming import Arrived
from licenzy.api.operations import OPERATIONS
from licenzy.api.reply import Reply
from licenzy.api.request import ApiState
from licenzy.api.routes import CallRoute
from licenzy.api.usage import ConsumeEndpoint
from licenzy.hotpath.readers import make_reader
from licenzy.hotpath.snapshot import SubjectSnapshot

CHECK = "/v1/access/check"
CONSUME = "/v1/usage/consume"

HotCall: TypeAlias = Callable[[Arrived], Awaitable[Reply | None]]
"""Answers a whole request, or gives none for Flask to answer it. Raises nothing for a caller's fault."""


class CallsOnTheLoop:
    """`calls` by method and path. Opened and closed by the loop that they run on."""

    def __init__(self, state: ApiState, consuming: ConsumeEndpoint) -> None:
        runtime = state.runtime
        self._make_reader = partial(
            make_reader, runtime.database, prepares=runtime.settings.prepared_statements
        )
        self._reader = self._make_reader()
        check = CallRoute("POST", CHECK, OPERATIONS["api.check"].scope)
        consume = CallRoute("POST", CONSUME, OPERATIONS["api.consume"].scope)
        self.calls: Mapping[tuple[str, str], HotCall] = {
            ("POST", CHECK): lambda incoming: check_on_loop(state, self, incoming, check),
            ("POST", CONSUME): lambda incoming: consuming.consume_on_loop(self, incoming, consume),
        }

    async def open(self) -> None:
        """Begin on the running loop. Connections are opened by the first call that needs one."""
        self._reader = self._make_reader()

    async def read(self, key_hash: str, subject_ref: str, *, ends_at: float) -> SubjectSnapshot | None:
        """See `SnapshotReader`."""
        return await self._reader.read(key_hash, subject_ref, ends_at=ends_at)

    async def close(self) -> None:
        """Close what was opened on the loop; calls that wait are refused."""
        await self._reader.close()
