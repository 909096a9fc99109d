"""Reads of the windows that were opened last, for pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.reads import read_all
from licenzy.entitlements.models import Entitlement, UsageWindow
from licenzy.entitlements.windows import included_of
from licenzy.projects.scope import Scope
from licenzy.usage.window_queries import windows_as_of


def recent_windows_of(
    db: Session, scope: Scope, owned: Sequence[Entitlement], *, now: datetime, limit: int
) -> list[UsageWindow]:
    """The last windows that were opened for these entitlements, so many of each unit, as of `now`."""
    rows: list[UsageWindow] = []
    for each in owned:
        for included in included_of(each.included):
            rows += _recent_windows(db, scope, entitlement_id=each.id, unit=included.unit, limit=limit)
    windows_as_of(db, scope, rows, owned, now=now)
    return rows


@read_all
def _recent_windows(
    scope: Scope, *, entitlement_id: str, unit: str, limit: int
) -> SelectOfScalar[UsageWindow]:
    return (
        select(UsageWindow)
        .where(
            UsageWindow.project_id == scope.project_id,
            UsageWindow.mode == scope.mode,
            UsageWindow.entitlement_id == entitlement_id,
            UsageWindow.unit == unit,
        )
        .order_by(col(UsageWindow.starts_at).desc())
        .limit(limit)
    )
