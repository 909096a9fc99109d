"""Verbs of observing: note what traffic did, have Stripe looked at, keep what it said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import Session, col

from licenzy.db.upsert import insert_or_change, insert_unless_there
from licenzy.kit.clock import EPOCH
from licenzy.observations.models import CheckCount, Noticed, ResolvedFinding, Sighting, StripeProbe
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record

PROBE_EVERY = timedelta(hours=1)
PROBE_AFTER_FAILURE = timedelta(minutes=5)
SIGHTINGS_KEPT = timedelta(days=30)
_LONGEST = 200


def note_sighting(
    db: Session, scope: Scope, *, kind: Noticed, about: str, detail: str = "", times: int = 1, now: datetime
) -> None:
    """Count something that was noticed, on the day of `now`."""
    noticed = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "kind": kind,
        "about": about[:_LONGEST],
        "day": (now - EPOCH).days,
        "times": times,
        "last_at": now,
        "detail": detail[:_LONGEST],
    }
    insert_or_change(db, Sighting, noticed, added=("times",), replaced=("last_at", "detail"))


def forget_old_sightings(db: Session, *, now: datetime) -> int:
    """Remove what no rule looks at any more; how many rows that were. For the worker, of all projects."""
    oldest = (now - SIGHTINGS_KEPT - EPOCH).days
    return int(db.execute(delete(Sighting).where(col(Sighting.day) < oldest)).rowcount)  # type: ignore[attr-defined]


def count_checks(db: Session, scope: Scope, *, hour: int, allowed: int, denied: int) -> None:
    """Add to the access checks answered in one hour, which is counted from 1970."""
    counted = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "hour": hour,
        "allowed": allowed,
        "denied": denied,
    }
    insert_or_change(db, CheckCount, counted, added=("allowed", "denied"))


def probe_soon(db: Session, scope: Scope, *, connection_id: str, now: datetime) -> None:
    """Have the worker ask Stripe about a connection at its next turn."""
    if not begin_looks(db, scope, connection_id=connection_id, now=now):
        probe_again(db, scope, now=now)


def begin_looks(db: Session, scope: Scope, *, connection_id: str, now: datetime) -> bool:
    """Have the row that a connection's looks need; False when it was there already, and is left as it was."""
    row = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "connection_id": connection_id,
        "answers": {},
        "due_at": now,
    }
    return insert_unless_there(db, StripeProbe, row)


def probe_again(db: Session, scope: Scope, *, now: datetime) -> None:
    """The same, for a side that was looked at before; nothing happens on one without a connection."""
    db.execute(
        update(StripeProbe)
        .where(col(StripeProbe.project_id) == scope.project_id, col(StripeProbe.mode) == scope.mode)
        .values(due_at=now, leased_until=None)
    )


def keep_answers(
    db: Session,
    *,
    connection_id: str,
    began: datetime,
    answers: Mapping[str, Any] | None,
    problem: str | None,
) -> None:
    """Keep what Stripe said in a look that `began` then; without `answers` the earlier ones stand.

    A look that was asked for in the meantime stays due.
    """
    probe = db.get(StripeProbe, connection_id, populate_existing=True, with_for_update=True)
    if probe is None:
        return
    if probe.due_at <= began:
        probe.due_at = began + (PROBE_AFTER_FAILURE if problem else PROBE_EVERY)
    probe.leased_until, probe.problem = None, problem[:500] if problem else None
    if answers is not None:
        probe.answers, probe.probed_at = dict(answers), began
    db.add(probe)
    db.flush()


def mark_resolved(db: Session, scope: Scope, *, code: str, actor: Actor, now: datetime) -> None:
    """Take somebody's word that what a finding tells is mended; it comes back when seen again."""
    word = {"project_id": scope.project_id, "mode": scope.mode, "code": code, "resolved_at": now}
    insert_or_change(db, ResolvedFinding, word, replaced=("resolved_at",))
    record(
        db,
        actor=actor,
        action="finding.marked_mended",
        project_id=scope.project_id,
        mode=scope.mode,
        about=code,
        now=now,
    )
