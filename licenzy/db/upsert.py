"""Insert a row unless its unique key is there already, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from licenzy.db.tables import Table


def insert_unless_there(db: Session, model: type[Table], values: Mapping[str, Any]) -> bool:
    """Whether the row was inserted; False when a unique key of the table held it already.

    On Postgres a row that another transaction is just inserting is waited for.
    """
    table: SqlTable = model.__table__  # type: ignore[attr-defined]
    insert = postgresql.insert if db.get_bind().dialect.name == "postgresql" else sqlite.insert
    # Told by RETURNING: the row count of such an insert is -1 with psycopg, whatever happened.
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(*table.primary_key)
    return db.execute(statement).first() is not None
