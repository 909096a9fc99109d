"""Insert a row unless its unique key is there already, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Executable
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from licenzy.db.tables import Table


def insert_unless_there(db: Session, model: type[Table], values: Mapping[str, Any]) -> bool:
    """Whether the row was inserted; False when a unique key of the table held it already.

    On Postgres a row that another transaction is just inserting is waited for.
    """
    statement = _insert(model, db.get_bind().dialect.name)
    # Told by RETURNING: the row count of such an insert is -1 with psycopg, whatever happened.
    return db.execute(statement, dict(values)).first() is not None


@lru_cache(maxsize=128)
def _insert(model: type[Table], dialect: str) -> Executable:
    """Made once for each table: making it costs more than running it."""
    table: SqlTable = model.__table__  # type: ignore[attr-defined]
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing().returning(*table.primary_key)
