"""What reads snapshots on an event loop, on either database."""

from __future__ import annotations

from licenzy.db.unit_of_work import Database
from licenzy.hotpath.postgres_snapshots import PostgresSnapshots
from licenzy.hotpath.snapshot import SnapshotReader
from licenzy.hotpath.sqlite_snapshots import SqliteSnapshots


def make_reader(database: Database, *, prepares: bool) -> SnapshotReader:
    """A reader for the loop that will call it, which also closes it."""
    if database.is_sqlite:
        return SqliteSnapshots(database)
    return PostgresSnapshots(database, prepares=prepares)
