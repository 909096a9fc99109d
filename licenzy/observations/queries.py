"""Reading what was seen."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment import facts
from licenzy.alignment.modes import Mode
from licenzy.db.reads import read_all, read_first
from licenzy.kit.clock import EPOCH
from licenzy.observations.models import Mended, Noticed, Sighting, StripeLook

LOOKED_BACK = timedelta(days=7)
"""How far back traffic counts."""


def sightings(
    db: Session, *, project_id: str, mode: Mode, now: datetime
) -> dict[Noticed, tuple[facts.Sighting, ...]]:
    """What was noticed in the last seven days, summed up by what it is about."""
    since = now - LOOKED_BACK
    rows = _sightings(db, project_id=project_id, mode=mode, since_day=(since - EPOCH).days, since=since)
    found: dict[tuple[Noticed, str], facts.Sighting] = {}
    for row in rows:
        before = found.get((row.kind, row.about))
        times = row.times + (before.times if before else 0)
        found[row.kind, row.about] = facts.Sighting(row.about, times, row.last_at, row.detail)
    return {kind: tuple(each for (of, _), each in found.items() if of is kind) for kind in Noticed}


@read_all
def _sightings(*, project_id: str, mode: Mode, since_day: int, since: datetime) -> SelectOfScalar[Sighting]:
    return (
        select(Sighting)
        .where(
            Sighting.project_id == project_id,
            Sighting.mode == mode,
            Sighting.day >= since_day,
            Sighting.last_at > since,
        )
        .order_by(col(Sighting.last_at))
    )


@read_first
def look_at(*, project_id: str, mode: Mode) -> SelectOfScalar[StripeLook]:
    """What Stripe said of this side; none before it was connected."""
    return select(StripeLook).where(StripeLook.project_id == project_id, StripeLook.mode == mode)


def mended(db: Session, *, project_id: str, mode: Mode) -> dict[str, datetime]:
    """When findings about traffic were said to be mended, by code."""
    return {row.code: row.mended_at for row in _mended(db, project_id=project_id, mode=mode)}


@read_all
def _mended(*, project_id: str, mode: Mode) -> SelectOfScalar[Mended]:
    return select(Mended).where(Mended.project_id == project_id, Mended.mode == mode)
