"""Refused signatures, diagnosed and counted beside the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from licenzy.connections.diagnosis import whose_secret
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_by_id
from licenzy.db.beside import Beside
from licenzy.observations.actions import note_sighting
from licenzy.observations.models import Noticed
from licenzy.runtime import Runtime

_MOST_WAITING = 50
_LARGEST_KEPT = 256 * 1024
"""A larger body is counted without being diagnosed, so that refusals never fill the memory."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """The last refused event of a connection, and how many came since the last writing."""

    kind: Noticed
    times: int
    at: datetime
    body: bytes
    header: str


class SignatureWatch:
    """Notes refused events of known connections; whose secret signed them is found out by a thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._beside: Beside[str, _Refused] = Beside(
            runtime.database,
            self._write,
            name="signatures",
            merge=lambda before, now: replace(now, times=before.times + now.times),
            most=_MOST_WAITING,
            pause_seconds=0.5,
        )

    def refused(
        self, candidates: Sequence[Connection], signers: Sequence[Connection], body: bytes, header: str
    ) -> None:
        """No candidate signed the body, or several did. An unsigned body is no event of Stripe's."""
        if "v1=" not in header:
            return
        if len(signers) > 1:
            concerned, kind = signers, Noticed.SIGNATURE_AMBIGUOUS
        elif len(candidates) == 1 and candidates[0].webhook_secret_sealed is not None:
            concerned, kind = candidates, Noticed.SIGNATURE_FAILED
        else:
            return  # Nobody can say whose it was meant to be, or nothing is saved to compare it with.
        kept = body if len(body) <= _LARGEST_KEPT else b""
        for connection in concerned:
            self._beside.note(connection.id, _Refused(kind, 1, self._runtime.clock(), kept, header))

    def _write(self, refused: Mapping[str, _Refused]) -> None:
        parts = self._runtime
        with parts.database.write() as db:
            for connection_id, each in sorted(refused.items()):
                connection = connection_by_id(db, connection_id=connection_id)
                if connection is None:
                    continue
                about = connection_id
                if each.kind is Noticed.SIGNATURE_FAILED:
                    about = whose_secret(
                        db, parts.seal, connection, body=each.body, header=each.header, now=each.at
                    )
                note_sighting(
                    db,
                    project_id=connection.project_id,
                    mode=connection.mode,
                    kind=each.kind,
                    about=about,
                    times=each.times,
                    now=each.at,
                )
