"""Connections at the level of the driver. Each belongs to one event loop or one committer, which closes it.

What reads on a loop is in `sqlite_snapshots.py` and `postgres_snapshots.py`; here stands what is common to
connections to Postgres.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from licenzy.db.engine import is_cut_off, is_lost, is_out_of_order, ran_out_of_time
from licenzy.db.unit_of_work import Database

_FIRST_PLAN_USES = 20
"""After so many uses a kept statement is planned anew, and again after ten times as many."""

BY_INDEX = " ".join(
    f"-c {setting}"
    for setting in (
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "jit=off",
        "plan_cache_mode=force_generic_plan",
    )
)
"""Every row that the statements here want is found by an index, in whatever number they are asked for, so
that one plan is right for good.

Told nothing, Postgres reads a table whole while it is small, and keeps doing so while it grows.
"""


class KeptStatements:
    """The words of statements that one connection is asked to keep.

    What is kept is planned for good after a few uses: on a new installation while its tables are all but
    empty, when reading them whole is the cheapest way. It would go on doing so while they fill, until they
    are analyzed a minute or more later, where a pooler took no `BY_INDEX`. A statement in other words is
    another one, and planned anew.
    """

    def __init__(self) -> None:
        self._uses: Counter[str] = Counter()

    def words(self, statement: str) -> str:
        """The statement, in the words of its present plan."""
        uses = self._uses[statement]
        self._uses[statement] = uses + 1
        return f"{statement} -- {len(str(uses * 10 // _FIRST_PLAN_USES))}"


class PostgresOwner:
    """What the owner of a connection to Postgres keeps of it; the connection itself is sync or async."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.connection: Any = None
        self.kept = KeptStatements()
        self.generation: int | None = None
        self.was_used = False

    def usable(self) -> Any:
        """The open connection; none when there is none, or what it leads to was lost since it was opened."""
        breaker = self.database.breaker
        if self.connection is not None and (
            self.connection.closed or (breaker is not None and breaker.generation != self.generation)
        ):
            self.drop()
        return self.connection

    def opening(self) -> None:
        """Note what a connection that is about to be opened will be of."""
        breaker = self.database.breaker
        self.generation = breaker.generation if breaker is not None else None

    def opened(self, connection: Any) -> Any:
        """Keep a new connection."""
        self.connection, self.kept, self.was_used = connection, KeptStatements(), False
        return connection

    def drop(self) -> None:
        """Close the connection at once, whatever it is doing: nothing of it is waited for."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(Exception):
                connection.pgconn.finish()

    def begin_anew(self) -> None:
        """In a fork's child: leave the connection to the parent."""
        _of_the_parent.append(self.connection)
        self.connection = None

    def failed(self, error: BaseException) -> bool:
        """Take note of a failure; whether all may be well on another connection.

        One that died while idle is replaced once. What did not answer in time, and what fails on a new one,
        is really down.
        """
        if not is_out_of_order(error) or not is_cut_off(error):
            return False
        was_used, self.was_used = self.was_used, False
        self.drop()
        if was_used and not ran_out_of_time(error):
            return True
        self.database.failed(error, generation=self.generation)
        return False


def failed_to_open(owner: PostgresOwner, error: BaseException) -> None:
    """Take note of a connection that could not be had; those that are open may still be good."""
    if owner.database.breaker is not None and is_lost(error):
        owner.database.breaker.lost(generation=owner.generation, was_open=False)


_of_the_parent: list[Any] = []
"""Never closed in a fork's child, since to close it would end what the parent is doing."""
