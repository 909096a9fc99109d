"""Fitting the windows that were opened to what the facts of their purchase say now.

Counters belong to the calls that write them; their sizes, ends and holders follow the facts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session

from licenzy.db.reads import read_row, read_rows
from licenzy.db.upsert import change_row, table_of
from licenzy.entitlements.models import State, UsageWindow
from licenzy.entitlements.projected import Projected
from licenzy.entitlements.window_counters import opening, spent_before
from licenzy.entitlements.windows import UnitWindows, included_of, whole_seconds
from licenzy.kit.clock import from_unix
from licenzy.projects.scope import Scope

_WINDOWS = table_of(UsageWindow)
_KEY = ("project_id", "mode", "entitlement_id", "unit", "starts_at")


@dataclass(frozen=True, slots=True)
class OpenWindows:
    """The open windows of a purchase's entitlements, locked against the calls that draw them."""

    rows: Sequence[Any] = ()

    @classmethod
    def locked(cls, db: Session, scope: Scope, holder_id: Sequence[str]) -> OpenWindows:
        """Those of these entitlements that include units: others have none, and are not to be given."""
        return cls(_locked(db, scope, holder_id=holder_id)) if holder_id else cls()

    def due_at(self, projected: Projected, holder_id: Collection[str]) -> datetime | None:
        """When the next window of an entitlement opens; None when none is paid for, or it has ended.

        `holder_id` is the entitlement, and those whose windows it goes on with.
        """
        if projected.included is None or projected.state is State.CANCELED:
            return None
        opens = (
            included.next_opening(self._begun(included.unit, holder_id))
            for included in included_of(projected.included)
        )
        return min((from_unix(each) for each in opens if each is not None), default=None)

    def _begun(self, unit: str, holder_id: Collection[str]) -> int | None:
        starts = (row.starts_at for row in self.rows if row.unit == unit and row.holder_id in holder_id)
        return max(map(whole_seconds, starts), default=None)

    def fit(self, db: Session, entitlements: Iterable[Mapping[str, Any]], heirs: Mapping[str, str]) -> None:
        """Give each its size, end and holder by the entitlements as they are now.

        `heirs` names, by entitlement, the one that its windows have gone over to.
        """
        by_id = {row["id"]: row for row in entitlements}
        for row in self.rows:
            holder = by_id[heirs.get(row.holder_id, row.holder_id)]
            included = {each.unit: each for each in included_of(holder["included"])}.get(row.unit)
            lineage = [holder["id"], *(old for old, heir in heirs.items() if heir == holder["id"])]
            changes = _fitted(db, row, included, lineage) | {
                "holder_id": holder["id"],
                "subject_id": holder["subject_id"],
            }
            differing = {name: value for name, value in changes.items() if getattr(row, name) != value}
            if differing:
                change_row(db, UsageWindow, {name: getattr(row, name) for name in _KEY}, differing)


def _fitted(
    db: Session, row: Any, included: UnitWindows | None, entitlement_ids: Sequence[str]
) -> dict[str, Any]:
    if included is None:
        # Of what is not included any more nothing is left, of carried units neither.
        taken = row.used_units + row.reserved_units + row.overdrawn_units
        return {"granted_units": taken, "carried_units": 0}
    start = whole_seconds(row.starts_at)
    window, before = included.sized(start), included.before(start)
    if window is None:
        return {}
    carried = row.carried_units
    if before is not None:
        closed = _closed_before(
            db,
            Scope(row.project_id, row.mode),
            entitlement_ids=entitlement_ids,
            unit=row.unit,
            starts_at=row.starts_at,
            opened_at=row.opened_at,
        )
        spent = 0
        if closed is not None:
            spent = spent_before(included, whole_seconds(closed.starts_at), closed.spent_at_end, window)
        carried = opening(window, before, spent).carried_units
    taken = row.used_units + row.reserved_units + row.overdrawn_units
    return {
        "granted_units": max(window.units, taken - carried),
        "carried_units": carried,
        "ends_at": from_unix(window.ends_at),
    }


@read_rows
def _locked(scope: Scope, *, holder_id: Sequence[str]) -> Select[Any]:
    columns = _WINDOWS.c
    return (
        select(_WINDOWS)
        .where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.holder_id.in_(holder_id),
            columns.spent_at_end.is_(None),
        )
        .order_by(*(columns[name] for name in _KEY))
        .with_for_update()
    )


@read_row
def _closed_before(
    scope: Scope,
    *,
    entitlement_ids: Sequence[str],
    unit: str,
    starts_at: datetime,
    opened_at: datetime,
) -> Select[Any]:
    """The last window that was opened before the one with this start was."""
    columns = _WINDOWS.c
    return (
        select(columns.starts_at, columns.spent_at_end)
        .where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.entitlement_id.in_(entitlement_ids),
            columns.unit == unit,
            columns.starts_at != starts_at,
            columns.opened_at <= opened_at,
            columns.spent_at_end.is_not(None),
        )
        .order_by(columns.opened_at.desc(), columns.starts_at.desc())
        .limit(1)
    )
