"""Refused signatures, diagnosed and counted beside the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session

from licenzy.connections.diagnosis import whose_secret
from licenzy.connections.models import Connection
from licenzy.connections.queries import Addressee, connection_by_id
from licenzy.db.background_batch import BackgroundBatcher
from licenzy.observations.actions import note_sighting
from licenzy.observations.models import Noticed
from licenzy.runtime import Runtime
from licenzy.workspace.audit import REPEAT_AFTER, Actor, record_once

_MOST_WAITING = 50
_LARGEST_KEPT = 256 * 1024
"""A larger body is counted without being diagnosed, so that refusals never fill the memory."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """The last refused event of a connection, and how many came since the last writing."""

    kind: Noticed | None
    """None where there is nothing to diagnose: then it is for the audit log alone."""
    times: int
    at: datetime
    body: bytes
    header: str
    address: str | None


_SHARED = "tenant"
"""Stands for the address of all connections, where nobody can say for which one an event was meant."""


class SignatureWatch:
    """Notes refused events of known connections; whose secret signed them is found out by a thread.

    Strangers may send what they like, so what they make this write is bounded: for each connection it is
    the day's row of its sighting, and one row an hour in the audit log.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._in_audit_log: dict[str, datetime] = {}
        self._batcher: BackgroundBatcher[tuple[str, str], _Refused] = BackgroundBatcher(
            runtime.database,
            self._write,
            name="signatures",
            merge=lambda before, now: replace(now, times=before.times + now.times),
            most=_MOST_WAITING,
            pause_seconds=0.5,
        )

    def refused(
        self,
        candidates: Sequence[Addressee],
        signers: Sequence[Addressee],
        body: bytes,
        header: str,
        address: str | None,
    ) -> None:
        """No candidate signed the body, or several did."""
        if not signers and len(candidates) > 1:
            self._note(_SHARED, None, body, header, address)
            return
        for connection in signers or candidates:
            self._note(connection.id, _kind(connection, signers, header), body, header, address)

    def _note(self, about: str, kind: Noticed | None, body: bytes, header: str, address: str | None) -> None:
        now = self._runtime.clock()
        recorded = self._in_audit_log.get(about)
        if kind is None and recorded is not None and now - recorded < REPEAT_AFTER:
            return
        kept = body if kind is not None and len(body) <= _LARGEST_KEPT else b""
        key = (about, kind.value if kind else "")
        self._batcher.add(key, _Refused(kind, 1, now, kept, header, address))

    def _write(self, refused: Mapping[tuple[str, str], _Refused]) -> None:
        with self._runtime.database.write() as db:
            for (about, _kind), each in sorted(refused.items(), key=lambda item: item[0]):
                connection = connection_by_id(db, connection_id=about)
                if connection is not None and each.kind is not None:
                    self._count(db, connection, each.kind, each)
                if connection is not None or about == _SHARED:
                    _record(db, connection, about, each)
                    self._in_audit_log[about] = each.at

    def _count(self, db: Session, connection: Connection, kind: Noticed, refused: _Refused) -> None:
        about = connection.id
        if kind is Noticed.SIGNATURE_FAILED:
            about = whose_secret(
                db,
                self._runtime.secret_box,
                connection,
                body=refused.body,
                header=refused.header,
                now=refused.at,
            )
        note_sighting(db, connection.scope, kind=kind, about=about, times=refused.times, now=refused.at)


def _kind(connection: Addressee, signers: Sequence[Addressee], header: str) -> Noticed | None:
    """What is worth a diagnosis: an unsigned body is no event of Stripe's."""
    if "v1=" not in header:
        return None
    if len(signers) > 1:
        return Noticed.SIGNATURE_AMBIGUOUS
    return Noticed.SIGNATURE_FAILED if connection.webhook_secret_sealed is not None else None


def _record(db: Session, connection: Connection | None, about: str, refused: _Refused) -> None:
    record_once(
        db,
        actor=Actor(ip=refused.address),
        action="webhook.signature_refused",
        key=about,
        about=about,
        project_id=connection.project_id if connection else None,
        mode=connection.mode if connection else None,
        now=refused.at,
    )
