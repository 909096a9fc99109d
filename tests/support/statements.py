"""Which statements reach the database, whatever connection of this process they are sent over."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

_VALUE = re.compile(r"'(?:[^']|'')*'|\b\d+\b|%\w+|%\(\w+\)s|\s--.*")
_OF_THE_CONNECTION = ("PRAGMA", "BEGIN", "COMMIT", "ROLLBACK", "SET ", "SELECT set_config", "--")
_WRITING = re.compile(r"(?:\bINSERT INTO|(?<!\bFOR )(?<!\bKEY )\bUPDATE|\bDELETE FROM) (\w+)")


class Statements:
    """What was sent since it was last asked, without values, transactions and settings of connections."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    def note(self, statement: Any) -> None:
        written = statement.decode() if isinstance(statement, bytes) else str(statement)
        if not written.lstrip().startswith(_OF_THE_CONNECTION):
            self._seen.append(" ".join(_VALUE.sub("?", written).split()))

    def taken(self) -> list[str]:
        """In the order in which they were sent."""
        seen, self._seen = self._seen, []
        return seen


def tables_written(statements: list[str]) -> list[str]:
    """The tables that these statements write to, once for each time."""
    return [table for each in statements for table in _WRITING.findall(each)]


@contextmanager
def statements_sent() -> Iterator[Statements]:
    """Notes what connections send that are opened while it lasts (SQLite), or that are there (Postgres)."""
    sent = Statements()
    connect, execute, executemany = sqlite3.connect, psycopg.Cursor.execute, psycopg.Cursor.executemany

    def connected(*args: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **named)
        connection.set_trace_callback(sent.note)
        return connection

    def executed(cursor: Any, query: Any, *args: Any, **named: Any) -> Any:
        sent.note(query)
        return execute(cursor, query, *args, **named)

    def executed_many(cursor: Any, query: Any, *args: Any, **named: Any) -> Any:
        sent.note(query)
        return executemany(cursor, query, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connected)
        patch.setattr(psycopg.Cursor, "execute", executed)
        patch.setattr(psycopg.Cursor, "executemany", executed_many)
        yield sent
