"""Reads of walks: how the one asked for is getting on, and what the last ones found."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_first
from licenzy.kit.lease import is_free
from licenzy.projects.scope import Scope
from licenzy.reconciliation.models import FinishedWalk, Reconciliation


class WalkState(StrEnum):
    """Where a side's walk is: nobody asked for one, one waits for the worker, or one is under way."""

    RESTING = "resting"
    WAITING = "waiting"
    WALKING = "walking"


def walk_state(row: Reconciliation | None, last: FinishedWalk | None, now: datetime) -> WalkState:
    """Where the walk is. One that was asked for and broke off rests until it is tried again. Pure."""
    if row is None:
        return WalkState.RESTING
    if row.step is not None and not is_free(row.leased_until, now):
        return WalkState.WALKING
    if row.requested_at is None:
        return WalkState.RESTING
    broke_off = last is not None and last.problem is not None and last.began_at >= row.requested_at
    return WalkState.RESTING if broke_off else WalkState.WAITING


def reconciliation_of(db: Session, *, connection_id: str) -> Reconciliation | None:
    """How far a connection, which the caller has found for its side, has been reconciled."""
    return db.get(Reconciliation, connection_id)


@read_first
def last_walk(scope: Scope) -> SelectOfScalar[FinishedWalk]:
    """The walk of this side that ended last."""
    return (
        select(FinishedWalk)
        .where(FinishedWalk.project_id == scope.project_id, FinishedWalk.mode == scope.mode)
        .order_by(col(FinishedWalk.id).desc())
        .limit(1)
    )


def walks_page(db: Session, scope: Scope, *, place: Place = NEWEST, size: int) -> Page[FinishedWalk]:
    """The walks of one side, the last to end first."""
    statement = select(FinishedWalk).where(
        FinishedWalk.project_id == scope.project_id, FinishedWalk.mode == scope.mode
    )
    return read_page(db, statement, col(FinishedWalk.id), place, size=size)
