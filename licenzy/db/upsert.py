"""Insert rows, or leave or change those whose unique key is there already, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Executable
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.util import identity_key
from sqlmodel import Session

from licenzy.db.tables import Table


def insert_unless_there(db: Session, model: type[Table], values: Mapping[str, Any]) -> bool:
    """Whether the row was inserted; False when a unique key of the table held it already.

    On Postgres a row that another transaction is just inserting is waited for.
    """
    statement = _insert(model, db.get_bind().dialect.name)
    # Told by RETURNING: the row count of such an insert is -1 with psycopg, whatever happened.
    return db.execute(statement, dict(values)).first() is not None


def add_unless_there(db: Session, row: Table) -> bool:
    """Whether the row was inserted, as `insert_unless_there` tells it.

    Once inserted it belongs to the session, as if it had been read.
    """
    columns = (column.name for column in _table(type(row)).columns)
    values = {name: value for name in columns if (value := getattr(row, name)) is not None}
    inserted = db.execute(_insert(type(row), db.get_bind().dialect.name), values).mappings().first()
    if inserted is None:
        return False
    for name, value in inserted.items():
        setattr(row, name, value)
    # When a savepoint is rolled back, the session does not know that rows added here went with it.
    if (gone := db.identity_map.get(identity_key(instance=row))) is not None:
        db.expunge(gone)
    make_transient_to_detached(row)
    db.add(row)
    return True


def insert_or_change(
    db: Session,
    model: type[Table],
    *rows: Mapping[str, Any],
    added: tuple[str, ...] = (),
    replaced: tuple[str, ...] = (),
    while_is: tuple[str, str] | None = None,
) -> None:
    """Insert one or more rows; where a primary key is there, add the values of some columns, replace others.

    With `while_is` a row that is there is changed only while this column has this value. On Postgres it is
    locked all the same.
    """
    statement = _upsert(model, db.get_bind().dialect.name, added, replaced, while_is)
    db.execute(statement, [dict(row) for row in rows])


@lru_cache(maxsize=128)
def _insert(model: type[Table], dialect: str) -> Executable:
    """Made once for each table: making it costs more than running it."""
    return _into(model, dialect).on_conflict_do_nothing().returning(*_table(model).primary_key)


@lru_cache(maxsize=128)
def _upsert(
    model: type[Table],
    dialect: str,
    added: tuple[str, ...],
    replaced: tuple[str, ...],
    while_is: tuple[str, str] | None,
) -> Executable:
    table, insert = _table(model), _into(model, dialect)
    changes = {name: table.c[name] + insert.excluded[name] for name in added}
    changes |= {name: insert.excluded[name] for name in replaced}
    still = table.c[while_is[0]] == while_is[1] if while_is else None
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changes, where=still)


def _into(model: type[Table], dialect: str) -> sqlite.Insert:
    # The two have the same clauses, but no class in common that tells them.
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(_table(model))  # type: ignore[return-value]


def _table(model: type[Table]) -> SqlTable:
    table: SqlTable = model.__table__  # type: ignore[attr-defined]
    return table
