"""Each column that could name a customer has its place in the list of what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import JSON, Column, String, Table

from licenzy.db.columns import Word
from licenzy.db.tables import metadata
from licenzy.factory import load_models
from licenzy.forgetting.columns import ERASED_COLUMNS, KEPT_COLUMNS, TABLES_WITHOUT_CUSTOMERS

load_models()
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "erasing-customers.md"


def is_text(column: Column[object]) -> bool:
    """Whether it can hold a name: not the project, the row's own id, or what refers to another row."""
    kind = getattr(column.type, "impl", column.type)
    is_id = column.name in {"id", "project_id"} or bool(column.foreign_keys)
    return isinstance(kind, (String, JSON)) and not isinstance(column.type, Word) and not is_id


def texts(table: Table) -> set[str]:
    return {column.name for column in table.c if is_text(column)}


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_column_of_text_has_its_place(name: str) -> None:
    erased, kept = set(ERASED_COLUMNS.get(name, {})), set(KEPT_COLUMNS.get(name, "").split())
    assert erased & kept == set()
    if name in TABLES_WITHOUT_CUSTOMERS:
        assert (erased, kept) == (set(), set())
    else:
        assert erased | kept == texts(metadata.tables[name])


def test_every_table_named_exists() -> None:
    assert set(metadata.tables) >= {*ERASED_COLUMNS, *KEPT_COLUMNS, *TABLES_WITHOUT_CUSTOMERS}


def test_the_guide_has_the_same_list() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    listed = [
        f"| `{table}` | `{column}` | {what} |"
        for table, columns in ERASED_COLUMNS.items()
        for column, what in columns.items()
    ]
    assert [row for row in text.splitlines() if row.startswith("| `")] == listed
