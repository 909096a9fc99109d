"""What every step is handed, and how steps read a side in batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, select
from sqlmodel import Session

from licenzy.db.tables import Table as Model
from licenzy.db.upsert import table_of
from licenzy.forgetting.names import Names
from licenzy.projects.scope import Scope


@dataclass(frozen=True, slots=True)
class Work:
    """One customer's erasure."""

    scope: Scope
    subject_id: str
    names: Names
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table, and where the next ones begin."""

    rows: Sequence[Any]
    last_key: str | None
    """None where there are no more."""


def batch_of(
    db: Session,
    work: Work,
    model: type[Model],
    *columns: ColumnElement[Any],
    after: str,
    most: int,
    by: str = "id",
    where: Sequence[ColumnElement[bool]] = (),
) -> Batch:
    """The next rows of the side, in the order of the column `by`, which is unique within the side."""
    table: Table = table_of(model)
    statement = (
        select(table.c[by], *columns)
        .where(
            table.c.project_id == work.scope.project_id,
            table.c.mode == work.scope.mode,
            table.c[by] > after,
            *where,
        )
        .order_by(table.c[by])
        .limit(most)
    )
    rows = db.execute(statement).all()
    return Batch(rows, rows[-1][0] if len(rows) == most else None)


def here(work: Work, table: Table) -> tuple[ColumnElement[bool], ...]:
    """The conditions that a row is of the side."""
    return table.c.project_id == work.scope.project_id, table.c.mode == work.scope.mode
