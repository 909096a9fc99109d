"""What SQLite is told of how much each index narrows a search down.

Without it SQLite takes each column of an index for narrowing its rows down to about ten, the first ones too:
those name the project and mode, which mostly are the same for all rows. It would read all that a side has
to save the sorting of three rows.
"""

from __future__ import annotations

from sqlalchemy import Connection

_ROWS = 1_000_000
_SAME_FOR_MANY = {"workspace_id", "project_id", "mode", "status", "endpoint_id"}
"""Columns of which a value says little: after them there are as many rows as before."""
_FEW = 10
"""Rows that have one value of any other column."""


def write_statistics(connection: Connection) -> None:
    """Tell SQLite of every index of a table with projects; counts of real rows would be no better.

    They stand in for those of SQLite's `ANALYZE`, which replaces them. A process that has the database open
    goes on without them.
    """
    # Makes the table that they are kept in, if there is none.
    connection.exec_driver_sql("ANALYZE sqlite_schema")
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    tables = connection.exec_driver_sql(
        "SELECT t.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c "
        "WHERE t.type = 'table' AND c.name = 'project_id'"
    )
    for (table,) in tables.fetchall():
        indexes = connection.exec_driver_sql('SELECT name, "unique" FROM pragma_index_list(?)', (table,))
        for index, is_unique in indexes.fetchall():
            found = connection.exec_driver_sql("SELECT name FROM pragma_index_info(?)", (index,))
            rows = _rows_left([column for (column,) in found], is_unique=bool(is_unique))
            connection.exec_driver_sql(
                "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)",
                (table, index, " ".join(str(each) for each in rows)),
            )


def _rows_left(columns: list[str], *, is_unique: bool) -> list[int]:
    """The rows of the table, and how many are left after each column: SQLite's own form."""
    rows = [_ROWS]
    for column in columns:
        rows.append(rows[-1] if column in _SAME_FOR_MANY else min(rows[-1], _FEW))
    if is_unique:
        rows[-1] = 1
    return rows
