"""Connections to the tests' Postgres that outlive whoever made them, though not the test.

One of the patches of `library_patches.py`, and only applied with them.

To a new connection Postgres gives a process that knows none of the tables yet, and each application makes
one or two. With these, a closed connection is put by for the next test that has the same database.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus, PGconn, TransactionStatus

from licenzy.db import postgres

Address = frozenset[tuple[str, str]]
MOST = 4
"""How many are put by for one database: the server has room for a hundred, and some tests make twenty."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The connections to one database that wait for the next test."""

    address: Address
    waiting: list[PGconn] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        return [each.backend_pid for each in self.waiting]

    def close(self) -> None:
        while self.waiting:
            self.waiting.pop().finish()


def reuse_connections() -> None:
    """From now on what this process connects to lent databases is put by."""
    psycopg.connect = ReusedConnection.connect
    postgres.DeadlineConnection = _ReusedProductConnection  # type: ignore[misc]


@contextmanager
def only_now(kept: Kept) -> Iterator[str]:
    """The name for connections to the database of `kept` within the block; later ones by it are refused.

    What is left of a test, such as a thread that goes on, must not meet the next one in the database.
    Only this process refuses them; the others that a test begins end with it.
    """
    name = f"{_mine()}{secrets.token_hex(6)}"
    _now[name] = kept
    try:
        yield name
    finally:
        del _now[name]


def address_of(conninfo: str) -> Address:
    """Which database it is, reached how and as whom."""
    asked = conninfo_to_dict(conninfo)
    return frozenset((name, str(value)) for name, value in asked.items() if name not in _OF_NO_IMPORTANCE)


class ReusedConnection(psycopg.Connection[Any]):
    """A connection that may have been, and will be, another's."""

    _kept: Kept | None = None

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Self]:
        name = str(conninfo_to_dict(conninfo).get("application_name", ""))
        # What a fork's child connects by its parent's name is its own, and ends with it.
        kept = _now.get(name) if name.startswith(_mine()) else None
        if kept is None and name.startswith(_mine()):
            raise psycopg.OperationalError("The test that had this database is over.")
        if kept is not None and kept.address != address_of(conninfo):
            kept = None  # By way of a pooler, say.
        pgconn = _usable(kept) if kept is not None else None
        made = cls(pgconn) if pgconn is not None else (yield from super()._connect_gen(conninfo))
        made._kept = kept
        return made

    def close(self) -> None:
        kept = self._kept
        is_idle = not self.closed and self.pgconn.transaction_status == TransactionStatus.IDLE
        if kept is None or kept not in _now.values() or not is_idle or len(kept.waiting) >= MOST:
            super().close()
        else:
            pgconn, self.pgconn, self._closed = self.pgconn, _FINISHED, True
            kept.waiting.append(pgconn)


class _ReusedProductConnection(ReusedConnection, postgres.DeadlineConnection):
    """The same for what the product connects to."""


def _usable(kept: Kept) -> PGconn | None:
    """One of the connections as if it were new; none when all are gone."""
    while kept.waiting:
        pgconn = kept.waiting.pop()
        with suppress(psycopg.OperationalError):
            if pgconn.exec_(b"DISCARD ALL").status == ExecStatus.COMMAND_OK:
                return pgconn
        pgconn.finish()
    return None


def _mine() -> str:
    return f"test-{os.getpid()}-"


_OF_NO_IMPORTANCE = {
    "application_name",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
}
_now: dict[str, Kept] = {}
_FINISHED = PGconn.connect_start(b"host=/nowhere")
_FINISHED.finish()
