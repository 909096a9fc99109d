"""Rows of a project in every table that can hold any, made from the metadata alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, Column, Integer, Table, UniqueConstraint, insert, select
from sqlmodel import Session

from licenzy.connections.models import AccountPace
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table as Model
from licenzy.db.upsert import table_of
from tests.support.clock import START

_OF_PEOPLE = frozenset({"workspaces", "users", "audit_log"})


def fill_every_table(db: Session, *, project_id: str, rows: int = 3) -> set[str]:
    """Put rows of the project into each table whose rows lead to a project; the tables' names."""
    # A project is made with its sides.
    filled: dict[str, dict[str, Any]] = {
        "projects": {"id": project_id},
        "project_sides": {"project_id": project_id},
    }
    for table in Model.metadata.sorted_tables:
        if table.name in {*_OF_PEOPLE, *filled} or not _leads_to_project(table, set(filled)):
            continue
        for number in range(rows):
            row = _row(table, filled, project_id, number)
            if row is None:
                break
            db.connection().execute(insert(table).values(row))
            first = filled.setdefault(table.name, row)
            if first is row and table.name == "connections":
                pace = {"account": row["id"], "next_at": START}
                db.connection().execute(insert(table_of(AccountPace)).values(pace))
    return set(filled) - {"projects"} | {"account_paces"}


def mentions(db: Session, text: str) -> dict[str, int]:
    """How many rows of each table hold `text` anywhere in them; tables without any are left out."""
    counted = {}
    for table in Model.metadata.sorted_tables:
        found = db.connection().execute(select(table)).all()
        number = sum(any(text in str(value) for value in row) for row in found)
        if number:
            counted[table.name] = number
    return counted


def _leads_to_project(table: Table, filled: set[str]) -> bool:
    referred = {key.referred_table.name for key in table.foreign_key_constraints}
    return "project_id" in table.c or bool(referred & filled)


def _row(table: Table, filled: dict[str, Any], project_id: str, number: int) -> dict[str, Any] | None:
    """None where the key allows no further row."""
    row: dict[str, Any] = {}
    for column in table.columns:
        if not column.nullable or column.name in {"account_id", "connection_id"}:
            row[column.name] = _value(column, project_id, number)
    for key in table.foreign_key_constraints:
        row |= {each.parent.name: filled[key.referred_table.name][each.column.name] for each in key.elements}
    if "project_id" in row:
        row["project_id"] = project_id
    if number and not _free(table, filled.get(table.name), row):
        return None
    return row


def _free(table: Table, first: dict[str, Any] | None, row: dict[str, Any]) -> bool:
    unique = [list(table.primary_key.columns)]
    unique += [list(each.columns) for each in table.constraints if isinstance(each, UniqueConstraint)]
    unique += [list(each.columns) for each in table.indexes if each.unique]
    return first is not None and not any(
        all(row.get(column.name) == first.get(column.name) for column in columns) for columns in unique
    )


def _value(column: Column[Any], project_id: str, number: int) -> Any:
    kind: Any = column.type
    if isinstance(kind, Instant):
        return START.replace(microsecond=number)
    if isinstance(kind, Word):
        return "test" if column.name == "mode" else next(iter(kind.words))
    if isinstance(kind, JSON):
        return {}
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, Integer):
        return 10 if column.name == "granted_units" else number + 1
    if getattr(kind, "length", None):
        return f"word_{number}"
    return f"{column.name}-{number} of {project_id}"
