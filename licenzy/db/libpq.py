"""Statements on Postgres through libpq itself: a cursor of psycopg costs more than the statement it runs.

Imported only where the database is Postgres (`db/postgres.py`).
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import psycopg
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.base import PGDialect

from licenzy.db.postgres import Connection

DIALECT: Dialect = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
"""For compiling statements: libpq numbers parameters."""

_FIRST_PLAN_USES = 20
"""After so many uses a kept statement is planned anew, and again after ten times as many."""


class Statement:
    """One statement, which connections are asked to keep if that `prepares` anything."""

    def __init__(self, sql: str, connection: Callable[[], Connection], *, prepares: bool) -> None:
        self._sql = sql.encode()
        self._connection = connection
        """Gives the calling thread's."""
        self._prepares = prepares
        self._kept = _Kept()
        self._readers: list[tuple[int, Callable[[bytes], Any]]] | None = None

    def rows(self, bound: Sequence[Any]) -> list[Any]:
        """All rows as tuples. Raises psycopg's errors, NoAnswer among them."""
        connection = self._connection()
        sent = [None if value is None else _sent(value) for value in bound]
        if not self._prepares:
            connection.pgconn.send_query_params(self._sql, sent)
            return self._read(_result(connection))
        kept = self._kept
        if kept.on is not connection:
            self._keep(connection, _FIRST_PLAN_USES)
        elif kept.uses == kept.until:
            self._keep(connection, kept.until * 10)
        kept.uses += 1
        connection.pgconn.send_query_prepared(kept.name, cast(Any, sent))
        return self._read(_result(connection))

    def _keep(self, connection: Connection, until: int) -> None:
        """Have Postgres keep the statement until it was used so often; where it was kept, plan it anew.

        What is kept is planned for good after a few uses: on a new installation while its tables are all but
        empty, when reading them whole is the cheapest way. It would go on doing so while they fill, until
        they are analyzed a minute or more later.
        """
        # A name that no other statement of the connection has, as long as this one lives.
        name = b"read_%x_%d" % (id(self), until)
        connection.pgconn.send_prepare(name, self._sql)
        _result(connection)
        kept = self._kept
        if kept.on is not connection:
            kept.on, kept.uses = connection, 0
        kept.name, kept.until = name, until

    def _read(self, result: PGresult) -> list[Any]:
        """The rows of a result in text form."""
        value = result.get_value
        if self._readers is None:  # The columns of one statement are of the same types each time.
            self._readers = [(column, _reader(result.ftype(column))) for column in range(result.nfields)]
        readers = self._readers
        return [
            tuple([None if (sent := value(row, column)) is None else read(sent) for column, read in readers])
            for row in range(result.ntuples)
        ]


class _Kept(threading.local):
    """The connection of the calling thread that keeps a statement, and what has become of it there."""

    on: object = None
    name = b""
    uses = 0
    until = 0


def _sent(value: Any) -> bytes:
    """A parameter in text form."""
    text = str(value).encode()
    if b"\0" in text:
        # Postgres would see the text before it, which may be somebody else's.
        raise psycopg.DataError("A text may not contain NUL.")
    return text


def _result(connection: Connection) -> PGresult:
    """The answer to what was just sent. Raises what Postgres refused as psycopg's errors, and NoAnswer."""
    result: PGresult
    (result,) = connection.wait(execute(connection.pgconn))
    if result.status in _DONE:
        return result
    error = error_from_result(result)
    # What is said without a code comes from libpq, whose connection is gone.
    raise error if error.sqlstate else psycopg.OperationalError(str(error))


def _reader(kind: int) -> Callable[[bytes], Any]:
    """What reads a column. Raises TypeError for a type that nobody has said how to read."""
    reader = _READERS.get(kind)
    if reader is None:
        raise TypeError(
            f"Values of the Postgres type with the number {kind} are not read: cast them to text."
        )
    return reader


_DONE = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})
_text = operator.methodcaller("decode")
_READERS: dict[int, Callable[[bytes], Any]] = {
    16: b"t".__eq__,  # boolean
    20: int,  # bigint
    21: int,  # smallint
    23: int,  # integer
    25: _text,  # text
    114: _text,  # json, as it is stored
    1043: _text,  # varchar
}
"""How columns are read, by the number of their type in Postgres."""
