"""Reading what was seen."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from licenzy.alignment import facts
from licenzy.alignment.modes import Mode
from licenzy.kit.clock import EPOCH
from licenzy.observations.models import Mended, Noticed, Sighting, StripeLook

LOOKED_BACK = timedelta(days=7)
"""How far back traffic counts."""


def sightings(
    db: Session, *, project_id: str, mode: Mode, now: datetime
) -> dict[Noticed, tuple[facts.Sighting, ...]]:
    """What was noticed in the last seven days, summed up by what it is about."""
    rows = db.exec(
        select(Sighting)
        .where(
            Sighting.project_id == project_id,
            Sighting.mode == mode,
            Sighting.day >= (now - LOOKED_BACK - EPOCH).days,
            Sighting.last_at > now - LOOKED_BACK,
        )
        .order_by(col(Sighting.last_at))
    )
    found: dict[tuple[Noticed, str], facts.Sighting] = {}
    for row in rows:
        before = found.get((row.kind, row.about))
        times = row.times + (before.times if before else 0)
        found[row.kind, row.about] = facts.Sighting(row.about, times, row.last_at, row.detail)
    return {kind: tuple(each for (of, _), each in found.items() if of is kind) for kind in Noticed}


def look_at(db: Session, *, project_id: str, mode: Mode) -> StripeLook | None:
    """What Stripe said of this side; none before it was connected."""
    return db.exec(
        select(StripeLook).where(StripeLook.project_id == project_id, StripeLook.mode == mode)
    ).first()


def mended(db: Session, *, project_id: str, mode: Mode) -> dict[str, datetime]:
    """When findings about traffic were said to be mended, by code."""
    rows = db.exec(select(Mended).where(Mended.project_id == project_id, Mended.mode == mode))
    return {row.code: row.mended_at for row in rows}
