"""The base of every table, with one naming rule for constraints so that migrations can name them."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint
from sqlmodel import SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = SQLModel.metadata


class Table(SQLModel):
    """Base of all table models.

    A list or dict of a row is empty by `default=[]`: each row gets its own, and a factory would have its
    signature looked at for every row.
    """


def of_same_project(column: str, table: str) -> ForeignKeyConstraint:
    """That `column` names a row of `table` of the same project, where that is keyed by project and id."""
    return ForeignKeyConstraint(["project_id", column], [f"{table}.project_id", f"{table}.id"])


def of_same_side(column: str, table: str) -> ForeignKeyConstraint:
    """That `column` names a row of `table` of the same project and mode, by which both are keyed."""
    return ForeignKeyConstraint(
        ["project_id", "mode", column], [f"{table}.project_id", f"{table}.mode", f"{table}.id"]
    )
