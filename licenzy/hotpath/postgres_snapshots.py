"""Snapshots on Postgres: the checks that wait while a statement is under way go together in the next one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from licenzy.db.engine import is_out_of_order
from licenzy.db.unit_of_work import Database, log_failure
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.connections import BY_INDEX, PostgresOwner, failed_to_open
from licenzy.hotpath.snapshot import POSTGRES_BATCH_STATEMENT, SubjectSnapshot, snapshots_of
from licenzy.kit import deadline

MOST_TOGETHER = 64
"""How many checks go in one statement at the most."""


class _Caller(NamedTuple):
    """A check that waits."""

    key_hash: str
    subject_ref: str
    ends_at: float
    future: asyncio.Future[SubjectSnapshot]


class PostgresSnapshots:
    """One connection of the loop's, opened by the first batch. At most one statement is under way."""

    def __init__(self, database: Database, *, prepares: bool) -> None:
        self._database, self._prepares = database, prepares
        self._owner = PostgresOwner(database)
        self._waiting: deque[_Caller] = deque()
        self._task: asyncio.Task[None] | None = None

    async def read(self, key_hash: str, subject_ref: str, *, ends_at: float) -> SubjectSnapshot | None:
        """See `SnapshotReader`. None while the database is known to be lost: a probe would hold the loop."""
        breaker = self._database.breaker
        if breaker is not None and breaker.is_open:
            return None
        loop = asyncio.get_running_loop()
        caller = _Caller(key_hash, subject_ref, ends_at, loop.create_future())
        self._waiting.append(caller)
        if self._task is None:
            self._task = loop.create_task(self._read_all())
        # Counted from the caller's arrival, whatever becomes of the batches before and with it.
        timer = loop.call_later(max(0.0, ends_at - time.monotonic()), _time_is_up, caller.future)
        try:
            return await caller.future
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Give up what is under way, and close the connection."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._refuse(list(self._waiting), DatabaseUnavailable())
        self._waiting.clear()
        connection, self._owner.connection = self._owner.connection, None
        if connection is not None:
            await connection.close()

    async def _read_all(self) -> None:
        try:
            while batch := self._take():
                await self._read_batch(batch)
        finally:
            self._task = None

    def _take(self) -> list[_Caller]:
        """The next batch, without those who have gone or have been refused."""
        batch: list[_Caller] = []
        while self._waiting and len(batch) < MOST_TOGETHER:
            caller = self._waiting.popleft()
            if not caller.future.done():
                batch.append(caller)
        return batch

    async def _read_batch(self, batch: Sequence[_Caller]) -> None:
        try:
            with deadline.within(max(each.ends_at for each in batch) - time.monotonic()):
                found = snapshots_of(await self._rows(batch), len(batch))
        except Exception as error:
            self._refuse(batch, error)
        except BaseException:
            self._refuse(batch, DatabaseUnavailable())
            raise
        else:
            for each, snapshot in zip(batch, found, strict=True):
                if not each.future.done():
                    each.future.set_result(snapshot)

    async def _rows(self, batch: Sequence[_Caller]) -> Sequence[Sequence[Any]]:
        pairs = ([each.key_hash for each in batch], [each.subject_ref for each in batch])
        while True:
            try:
                cursor = await self._cursor()
                words = self._owner.kept.words(POSTGRES_BATCH_STATEMENT) if self._prepares else None
                await cursor.execute(words or POSTGRES_BATCH_STATEMENT, pairs, prepare=self._prepares)
                rows: Sequence[Sequence[Any]] = await cursor.fetchall()
            except Exception as error:
                if self._owner.connection is None or not self._owner.failed(error):
                    raise
            else:
                self._owner.was_used = True
                return rows

    async def _cursor(self) -> Any:
        """A cursor of the open connection, or of a new one."""
        from licenzy.db import postgres

        if self._owner.usable() is None:
            self._owner.opening()
            try:
                opened = await postgres.connect_async_with_limits(
                    postgres.parameters_of(self._database.engine), options=BY_INDEX
                )
            except Exception as error:
                failed_to_open(self._owner, error)
                raise
            if not self._prepares:
                opened.prepare_threshold = None
            self._owner.opened(opened)
        return postgres.RawCursor(self._owner.connection)

    def _refuse(self, batch: Sequence[_Caller], error: Exception) -> None:
        if is_out_of_order(error):
            log_failure(error)
        for each in batch:
            if not each.future.done():
                each.future.set_exception(_worded(error))


def _time_is_up(future: asyncio.Future[SubjectSnapshot]) -> None:
    if not future.done():
        future.set_exception(DatabaseUnavailable())


def _worded(error: Exception) -> Exception:
    """A refusal of its own for each caller, where the database is at fault."""
    if not is_out_of_order(error):
        return error
    unavailable = DatabaseUnavailable()
    unavailable.__cause__ = error
    return unavailable
