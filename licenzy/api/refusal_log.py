"""Which calls of known keys were refused, collected in memory and written beside the requests."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from licenzy.alignment.modes import Mode
from licenzy.api.caller import Caller
from licenzy.api.routes import CallRoute
from licenzy.api_keys.refusals import RefusedCall, keep_refusals
from licenzy.db.background_batch import BackgroundBatcher
from licenzy.idempotency.outcome import Outcome
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime

PAUSE_SECONDS = 2.0
"""How long a process collects before it writes again."""
MOST_AT_ONCE = 20
"""How many calls of one key a process writes at once: the newest. The others of a flood are not kept."""

_Key = tuple[str, Mode, str]
_Calls = tuple[RefusedCall, ...]


class RefusalLog:
    """Keeps refusals at the cost of a small tuple; a thread of its own writes them down."""

    def __init__(self, runtime: Runtime) -> None:
        self._database = runtime.database
        self._batcher: BackgroundBatcher[_Key, _Calls] = BackgroundBatcher(
            runtime.database,
            self._write,
            name="refused",
            merge=lambda before, now: (*before, *now)[-MOST_AT_ONCE:],
            pause_seconds=PAUSE_SECONDS,
        )

    def note(self, caller: Caller, route: CallRoute, request_id: str, *, status: int, code: str) -> None:
        """A known caller is about to be refused."""
        call = RefusedCall(request_id, caller.asked_at, status, code, route.method, route.path)
        self._batcher.add((caller.project_id, caller.mode, caller.key_id), (call,))

    def note_outcome(self, caller: Caller, route: CallRoute, request_id: str, outcome: Outcome) -> None:
        """The same for a refusal that is kept under an Idempotency-Key."""
        code = str(orjson.loads(outcome.body)["error"])
        self.note(caller, route, request_id, status=outcome.status, code=code)

    def _write(self, refused: Mapping[_Key, _Calls]) -> None:
        # A transaction for each key, so that none holds up other writers for long.
        for (project_id, mode, key_id), calls in refused.items():
            with self._database.write() as db:
                keep_refusals(db, Scope(project_id, mode), key_id=key_id, calls=calls)
