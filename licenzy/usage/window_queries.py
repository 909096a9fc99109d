"""Reads and locks of the windows of included units."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import ColumnElement, and_, func, or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.db.reads import read_all
from licenzy.entitlements.models import Entitlement, UsageWindow
from licenzy.projects.scope import Scope
from licenzy.usage.grants import WindowGrant, fit_to_counters, window_grants
from licenzy.usage.models import Hold, Reservation
from licenzy.usage.queries import owned_by
from licenzy.usage.rules import Draw


@read_all
def open_windows_of(scope: Scope, *, holder_id: Sequence[str]) -> SelectOfScalar[UsageWindow]:
    """The windows of these entitlements that were opened last."""
    return _windows(scope).where(
        col(UsageWindow.holder_id).in_(holder_id), col(UsageWindow.spent_at_end).is_(None)
    )


def window_grants_of(
    db: Session, scope: Scope, owned: Sequence[Entitlement], *, now: datetime
) -> list[WindowGrant]:
    """The windows of what these entitlements include, as of `now`; nothing is read where none does."""
    holders = [each.id for each in owned if each.included is not None]
    if not holders:
        return []
    rows = open_windows_of(db, scope, holder_id=holders)
    windows_as_of(db, scope, rows, owned, now=now)
    by_holder: dict[str, list[UsageWindow]] = {}
    for row in rows:
        by_holder.setdefault(row.holder_id, []).append(row)
    return window_grants(owned, by_holder, now)


class WindowHold(Protocol):
    """A hold that names a window, with the unit of its reservation."""

    @property
    def draw(self) -> Draw: ...
    @property
    def unit(self) -> str: ...


def lock_windows(
    db: Session, scope: Scope, *, subject_id: str, named: Sequence[WindowHold] = ()
) -> list[UsageWindow]:
    """The subject's open windows, and those that are named, locked against other writers.

    In the order of their keys, and before packs, as everybody locks them.
    """
    if not named:
        return _lock_open_windows(db, scope, subject_id=subject_id)
    return _lock_named_windows(
        db,
        scope,
        subject_id=subject_id,
        ids=[each.draw.pack_id for each in named],
        starts=[each.draw.window_starts_at for each in named if each.draw.window_starts_at is not None],
        units=[each.unit for each in named],
    )


@read_all
def _lock_open_windows(scope: Scope, *, subject_id: str) -> SelectOfScalar[UsageWindow]:
    return _locked_windows(_windows(scope).where(_is_open_of(subject_id)))


@read_all
def _lock_named_windows(
    scope: Scope, *, subject_id: str, ids: Sequence[str], starts: Sequence[datetime], units: Sequence[str]
) -> SelectOfScalar[UsageWindow]:
    these = and_(
        col(UsageWindow.entitlement_id).in_(ids),
        col(UsageWindow.unit).in_(units),
        col(UsageWindow.starts_at).in_(starts),
    )
    return _locked_windows(_windows(scope).where(or_(_is_open_of(subject_id), these)))


def _is_open_of(subject_id: str) -> ColumnElement[bool]:
    return and_(col(UsageWindow.subject_id) == subject_id, col(UsageWindow.spent_at_end).is_(None))


def _locked_windows(windows: SelectOfScalar[UsageWindow]) -> SelectOfScalar[UsageWindow]:
    return windows.with_for_update().execution_options(populate_existing=True)


def _windows(scope: Scope) -> SelectOfScalar[UsageWindow]:
    return (
        select(UsageWindow)
        .where(UsageWindow.project_id == scope.project_id, UsageWindow.mode == scope.mode)
        .order_by(col(UsageWindow.entitlement_id), col(UsageWindow.unit), col(UsageWindow.starts_at))
    )


@read_all
def including(scope: Scope, *, subject_id: str) -> SelectOfScalar[Entitlement]:
    """The subject's entitlements that include units, also those whose last window is open."""
    return owned_by(scope, subject_id).where(col(Entitlement.included).is_not(None))


def windows_as_of(
    db: Session,
    scope: Scope,
    rows: Sequence[UsageWindow],
    holders: Sequence[Entitlement],
    *,
    now: datetime,
) -> None:
    """Have open windows that were read count what reservations held until `now` as free.

    `holders` are the entitlements that hold them. They then leave the session and are never written.
    """
    reserved = [row for row in rows if row.reserved_units]
    if not reserved:
        return
    ids = [row.entitlement_id for row in reserved]
    expired = {
        (entitlement_id, unit, starts_at): int(units)
        for entitlement_id, unit, starts_at, units in _expired_in_windows(db, scope, ids=ids, now=now)
    }
    if not expired:
        return
    for row in rows:
        db.expunge(row)
    for row in reserved:
        units = expired.get((row.entitlement_id, row.unit, row.starts_at))
        if units:
            row.reserved_units -= units
            fit_to_counters(row, rows, holders)


@read_all
def _expired_in_windows(
    scope: Scope, *, ids: Sequence[str], now: datetime
) -> Select[str, str, datetime | None, int]:
    return (
        select(Hold.entitlement_id, Reservation.unit, Hold.window_starts_at, func.sum(Hold.units))
        .join(Reservation)
        .where(
            Reservation.project_id == scope.project_id,
            Reservation.mode == scope.mode,
            col(Hold.entitlement_id).in_(ids),
            col(Hold.window_starts_at).is_not(None),
            col(Reservation.closed_at).is_(None),
            col(Reservation.expires_at) <= now,
        )
        .group_by(col(Hold.entitlement_id), col(Reservation.unit), col(Hold.window_starts_at))
    )
