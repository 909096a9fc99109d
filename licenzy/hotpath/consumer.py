"""Consuming through the committer of this process, on either database."""

from __future__ import annotations

from collections.abc import Sequence

from licenzy.db.unit_of_work import Database
from licenzy.hotpath.consume import ConsumeRequest, ConsumeResult, decide_batch
from licenzy.hotpath.consume_sql import Run, SqliteStatements
from licenzy.hotpath.group_commit import GroupCommitter
from licenzy.hotpath.postgres_batches import ALONE_SECONDS, TURN_SECONDS, PostgresBatches, subject_of
from licenzy.hotpath.sqlite_batches import SqliteBatches

Committer = GroupCommitter[ConsumeRequest, ConsumeResult]


def make_committer(database: Database, *, prepares: bool) -> Committer:
    """The committer of consumption. It ends with the database; where `prepares` is false, Postgres keeps
    no statements."""
    if database.is_sqlite:
        return GroupCommitter(database, SqliteBatches(database, consume_on_sqlite), name="committer")
    return _on_postgres(database, prepares)


def consume_on_sqlite(run: Run, requests: Sequence[ConsumeRequest]) -> list[ConsumeResult]:
    """Read, decide and write a batch within the transaction that `run` is of."""
    statements = SqliteStatements()
    results, writes = decide_batch(requests, statements.read(run, requests))
    statements.write(run, writes)
    return results


def _on_postgres(database: Database, prepares: bool) -> Committer:
    # The first to be closed, since it still gives calls to the second one.
    committer: Committer = GroupCommitter(
        database,
        PostgresBatches(
            database,
            prepares=prepares,
            locked=lambda writes: alone.adopt(writes),
            elsewhere=lambda: alone.groups(),
        ),
        name="committer",
    )
    alone: Committer = GroupCommitter(
        database,
        # What still cannot be had goes to the end of the queue, behind the calls on other subjects.
        PostgresBatches(
            database,
            prepares=prepares,
            locked=lambda writes: alone.adopt(writes),
            lock_seconds=lambda: TURN_SECONDS if len(alone.groups()) > 1 else ALONE_SECONDS,
            skips_locked=False,
        ),
        name="committer of locked rows",
        together=subject_of,
    )
    return committer
