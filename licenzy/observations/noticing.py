"""Noticing what traffic does, beside the requests and never in their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from licenzy.alignment.modes import Mode
from licenzy.db.background_batch import BackgroundBatcher
from licenzy.db.unit_of_work import Database
from licenzy.kit.clock import Clock
from licenzy.observations.actions import note_sighting
from licenzy.observations.models import Noticed
from licenzy.projects.scope import Scope

_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Count:
    times: int
    last_at: datetime
    detail: str


_Key = tuple[str, Mode, Noticed, str]


class Noticing:
    """Counts what requests notice, in memory; a thread adds the counts to the day's rows."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._batcher: BackgroundBatcher[_Key, _Count] = BackgroundBatcher(
            database,
            self._write,
            name="noticed",
            merge=lambda before, now: _Count(before.times + now.times, now.last_at, now.detail),
            pause_seconds=_PAUSE_SECONDS,
        )

    def note(self, scope: Scope, *, kind: Noticed, about: str, detail: str = "") -> None:
        """This was noticed just now."""
        self._batcher.add((scope.project_id, scope.mode, kind, about), _Count(1, self._clock(), detail))

    def _write(self, counts: Mapping[_Key, _Count]) -> None:
        with self._database.write() as db:
            for (project_id, mode, kind, about), count in sorted(counts.items(), key=lambda each: each[0]):
                note_sighting(
                    db,
                    Scope(project_id, mode),
                    kind=kind,
                    about=about,
                    detail=count.detail,
                    times=count.times,
                    now=count.last_at,
                )
