"""Reading what was seen."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment import facts
from licenzy.db.reads import read_all, read_first
from licenzy.kit.clock import EPOCH
from licenzy.observations.models import Noticed, ResolvedFinding, Sighting, StripeProbe
from licenzy.projects.scope import Scope

SIGHTINGS_WINDOW = timedelta(days=7)
"""How far back traffic counts."""


def sightings(db: Session, scope: Scope, *, now: datetime) -> dict[Noticed, tuple[facts.SightingFacts, ...]]:
    """What was noticed in the last seven days, summed up by what it is about."""
    since = now - SIGHTINGS_WINDOW
    rows = _sightings(db, scope, since_day=(since - EPOCH).days, since=since)
    found: dict[tuple[Noticed, str], facts.SightingFacts] = {}
    for row in rows:
        before = found.get((row.kind, row.about))
        times = row.times + (before.times if before else 0)
        found[row.kind, row.about] = facts.SightingFacts(row.about, times, row.last_at, row.detail)
    return {kind: tuple(each for (of, _), each in found.items() if of is kind) for kind in Noticed}


@read_all
def _sightings(scope: Scope, *, since_day: int, since: datetime) -> SelectOfScalar[Sighting]:
    return (
        select(Sighting)
        .where(
            Sighting.project_id == scope.project_id,
            Sighting.mode == scope.mode,
            Sighting.day >= since_day,
            Sighting.last_at > since,
        )
        .order_by(col(Sighting.last_at))
    )


@read_first
def probe_of(scope: Scope) -> SelectOfScalar[StripeProbe]:
    """What Stripe said of this side; none before it was connected."""
    return select(StripeProbe).where(
        StripeProbe.project_id == scope.project_id, StripeProbe.mode == scope.mode
    )


def resolved_findings(db: Session, scope: Scope) -> dict[str, datetime]:
    """When findings about traffic were said to be mended, by code."""
    return {row.code: row.resolved_at for row in _resolved(db, scope)}


@read_all
def _resolved(scope: Scope) -> SelectOfScalar[ResolvedFinding]:
    return select(ResolvedFinding).where(
        ResolvedFinding.project_id == scope.project_id, ResolvedFinding.mode == scope.mode
    )
