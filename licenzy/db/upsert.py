"""Insert rows, or leave or change those whose unique key is there already, on both databases.

These speak to the session's connection and make no objects: a statement then costs a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, update
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from licenzy.db.tables import Table


def insert_unless_there(db: Session, model: type[Table], values: Mapping[str, Any]) -> bool:
    """Whether the row was inserted; False when a unique key of the table held it already.

    On Postgres a row that another transaction is just inserting is waited for.
    """
    # Told by RETURNING: the row count of such an insert is -1 with psycopg, whatever happened.
    return bool(insert_new(db, model, values, returning=_key_of(model)))


def insert_new(
    db: Session, model: type[Table], *rows: Mapping[str, Any], returning: tuple[str, ...]
) -> list[tuple[Any, ...]]:
    """These columns of the rows that were inserted; those whose unique key was there are left out.

    Rows of one call have the same columns. On Postgres rows that another transaction is just inserting are
    waited for.
    """
    if not rows:
        return []
    connection = _connection(db)
    statement = _insert(model, connection.dialect.name, returning)
    given = [dict(row) for row in rows]
    return [tuple(row) for row in connection.execute(statement, given if len(given) > 1 else given[0])]


def change_row(db: Session, model: type[Table], key: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Change columns of the row with this primary key; objects that the session has of it do not notice."""
    statement = _update(model, tuple(key), tuple(changes))
    _connection(db).execute(statement, {f"key_{name}": value for name, value in key.items()} | dict(changes))


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
    connection = _connection(db)
    statement = _upsert(model, connection.dialect.name, added, replaced, while_is)
    connection.execute(statement, [dict(row) for row in rows])


def _connection(db: Session) -> Connection:
    """The session's own, which knows nothing of its objects: what was changed of those is written first."""
    db.flush()
    return db.connection()


@lru_cache(maxsize=128)
def _insert(model: type[Table], dialect: str, returning: tuple[str, ...]) -> Executable:
    """Made once for each table: making it costs more than running it."""
    columns = table_of(model).c
    return _into(model, dialect).on_conflict_do_nothing().returning(*(columns[name] for name in returning))


@lru_cache(maxsize=256)
def _update(model: type[Table], key: tuple[str, ...], changed: tuple[str, ...]) -> Executable:
    table = table_of(model)
    here = (table.c[name] == bindparam(f"key_{name}") for name in key)
    return update(table).where(*here).values({name: bindparam(name) for name in changed})


@lru_cache(maxsize=64)
def _key_of(model: type[Table]) -> tuple[str, ...]:
    return tuple(column.name for column in table_of(model).primary_key)


@lru_cache(maxsize=128)
def _upsert(
    model: type[Table],
    dialect: str,
    added: tuple[str, ...],
    replaced: tuple[str, ...],
    while_is: tuple[str, str] | None,
) -> Executable:
    table, insert = table_of(model), _into(model, dialect)
    changes = {name: table.c[name] + insert.excluded[name] for name in added}
    changes |= {name: insert.excluded[name] for name in replaced}
    still = table.c[while_is[0]] == while_is[1] if while_is else None
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changes, where=still)


def _into(model: type[Table], dialect: str) -> sqlite.Insert:
    # The two have the same clauses, but no class in common that tells them.
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table_of(model))  # type: ignore[return-value]


def table_of(model: type[Table]) -> SqlTable:
    """The table that a model describes, for statements that read columns and make no objects."""
    table: SqlTable = model.__table__  # type: ignore[attr-defined]
    return table
