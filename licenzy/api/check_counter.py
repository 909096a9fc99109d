"""How many access checks were answered, counted in memory and written beside the requests."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from licenzy.alignment.modes import Mode
from licenzy.api.caller import Caller
from licenzy.db.background_batch import BackgroundBatcher
from licenzy.kit.clock import whole_hours
from licenzy.observations.actions import count_checks
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime

PAUSE_SECONDS = 10.0
"""How long a process counts before it writes again."""

_Counts = dict[tuple[str, Mode, int, bool], int]


class CheckCounter:
    """Counts every check at the cost of a dictionary look-up; a thread of its own adds up the hours.

    What could not be written is written with the next counts; where it was, and only the answer to the
    commit got lost, it counts twice. What a process that is killed has counted since its last write is
    lost: ten seconds at most.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._database = runtime.database
        self._counts: _Counts = {}
        self._guard = threading.Lock()
        self._batcher: BackgroundBatcher[None, None] = BackgroundBatcher(
            runtime.database,
            self._write,
            name="checked",
            merge=lambda _before, _now: None,
            pause_seconds=PAUSE_SECONDS,
        )

    def note(self, caller: Caller, allowed: bool) -> None:
        """A check was answered just now."""
        key = (caller.project_id, caller.mode, whole_hours(caller.asked_at), allowed)
        with self._guard:
            first = not self._counts
            self._counts[key] = self._counts.get(key, 0) + 1
        if first:
            self._batcher.add(None, None)

    def _write(self, _woken: Mapping[None, None]) -> None:
        with self._guard:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            with self._database.write() as db:
                # In one order, so that no two processes wait for each other.
                for (project_id, mode, hour, allowed), times in sorted(counts.items()):
                    count_checks(
                        db,
                        Scope(project_id, mode),
                        hour=hour,
                        allowed=times if allowed else 0,
                        denied=0 if allowed else times,
                    )
        except Exception:
            self._put_back(counts)
            raise

    def _put_back(self, counts: _Counts) -> None:
        with self._guard:
            for key, times in counts.items():
                self._counts[key] = self._counts.get(key, 0) + times
        self._batcher.add(None, None)
