"""Removes the rows of deleted projects, a few at a time, from every table that has any.

The tables are those of the metadata, the ones that refer to others first, so that a new table needs no
line here. What is left says how far it came: after a kill it goes on there. The audit log stays.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, delete, or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col
from sqlmodel import select as select_models
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.connections.models import AccountPace, Connection
from licenzy.db.reads import read_first
from licenzy.db.tables import Table as Model
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import table_of
from licenzy.projects.models import Project

AT_ONCE = 500
"""Rows in one transaction: others wait for these few alone."""
_KEPT = frozenset({"audit_log", "projects"})


def remove_next(database: Database) -> bool:
    """Remove the next rows of a deleted project, in a transaction of their own; whether there were any."""
    with database.read() as db:
        project_id = _deleted(db)
    if project_id is None:
        return False
    try:
        database.retrying(lambda db: _remove_some(db, project_id))
    except IntegrityError:
        return False  # Something was added beneath what was just removed: it goes first in the next round.
    return True


def owned_rows(table: Table, project_id: str) -> ColumnElement[bool] | None:
    """Which rows of a table are the project's, by their `project_id` or that of the one row they refer to.

    None for a table whose rows belong to no project.
    """
    if "project_id" in table.c:
        return table.c.project_id == project_id
    for key in table.foreign_key_constraints:
        if "project_id" in key.referred_table.c and len(key.elements) == 1:
            [reference] = key.elements
            owner = key.referred_table
            return reference.parent.in_(select(reference.column).where(owner.c.project_id == project_id))
    return None


def _remove_some(db: Session, project_id: str) -> None:
    """Up to AT_ONCE rows; the project itself once nothing else is left."""
    left = AT_ONCE
    for table in reversed(Model.metadata.sorted_tables):
        owned = None if table.name in _KEPT else owned_rows(table, project_id)
        if owned is None:
            continue
        if table.name == Connection.__tablename__:
            _forget_paces(db, project_id)
        left -= _remove_from(db, table, owned, most=left)
        if left <= 0:
            return
    projects = table_of(Project)
    db.connection().execute(delete(projects).where(projects.c.id == project_id))


def _remove_from(db: Session, table: Table, owned: ColumnElement[bool], *, most: int) -> int:
    primary = list(table.primary_key.columns)
    rows = [tuple(row) for row in db.connection().execute(select(*primary).where(owned).limit(most))]
    if not rows:
        return 0
    these = primary[0].in_([row[0] for row in rows]) if len(primary) == 1 else tuple_(*primary).in_(rows)
    db.connection().execute(delete(table).where(these))
    return len(rows)


def _forget_paces(db: Session, project_id: str) -> None:
    """When its accounts may be called next; for another project with one of them that is at once."""
    mine = select(col(Connection.id), col(Connection.account_id)).where(
        col(Connection.project_id) == project_id
    )
    names = {name for row in db.connection().execute(mine) for name in row if name}
    paces = table_of(AccountPace)
    if names:
        db.connection().execute(delete(paces).where(or_(*(paces.c.account == name for name in names))))


@read_first
def _deleted() -> SelectOfScalar[str]:
    return (
        select_models(Project.id)
        .where(col(Project.deleted_at).is_not(None))
        .order_by(col(Project.deleted_at))
        .limit(1)
    )
