"""Short writes of many callers, several of them to one commit.

A commit waits for the disk, which takes as long for one caller's rows as for those of all who have come
meanwhile. So one thread of the process writes for everybody: what waits when it is free makes one batch,
and each caller is answered once the batch is safe.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

from licenzy.db.failures import log_unavailable
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.pending_write import PendingWrite, answer, resolve

MOST_TOGETHER = 64
"""How many callers share a commit at the most."""
_CLOSING_SECONDS = 10.0

R = TypeVar("R")
T = TypeVar("T")


class Batches(Protocol[R, T]):
    """How batches are written on one kind of database. Used by the committer's thread alone."""

    def right_to_write(self, seconds: float) -> AbstractContextManager[None]:
        """What has to be held while a batch is taken and committed. Raises DatabaseUnavailable."""
        ...

    def commit(
        self,
        batch: Sequence[PendingWrite[R, T]],
        answer: Callable[[Sequence[PendingWrite[R, T]]], None],
    ) -> None:
        """Settle all of it, and `answer` what is settled; what is not in the end, fails."""
        ...

    def tidy(self) -> None:
        """What can be done after callers were answered, without the right to write."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...

    def begin_anew(self) -> None:
        """In a fork's child: leave what is open to the parent."""
        ...


class GroupCommitter(Generic[R, T]):
    """Owns the queue and the thread, which begins with the first write and ends with the database.

    `together` names what may share a batch; without, everything may.
    """

    def __init__(
        self,
        database: Database,
        batches: Batches[R, T],
        *,
        name: str,
        together: Callable[[R], Hashable] | None = None,
    ) -> None:
        self._batches, self._name, self._together = batches, name, together
        self._thread: threading.Thread | None = None
        self._begin_anew()
        database.before_close(self.close)
        database.in_fork(self.begin_anew_after_fork)

    def run(self, request: R, *, ends_at: float) -> T:
        """What becomes of the request, for a caller in a thread, which waits.

        Raises DatabaseUnavailable at `ends_at`, when the commit may still be under way, and what the writing
        raised, when nothing was written.
        """
        write: PendingWrite[R, T] = PendingWrite(request, ends_at)
        self.adopt([write])
        if not write.wait():
            write.is_abandoned = True
            raise DatabaseUnavailable
        return write.outcome()

    async def submit(self, request: R, *, ends_at: float) -> T:
        """The same for a caller on an event loop. A caller that is cancelled has gone."""
        write: PendingWrite[R, T] = PendingWrite(request, ends_at)
        write.loop = asyncio.get_running_loop()
        write.future = future = write.loop.create_future()
        self.adopt([write])
        timer = write.loop.call_later(write.seconds_left, resolve, (write,))
        try:
            await future
        finally:
            timer.cancel()
            write.is_abandoned = not write.is_settled
        if write.is_abandoned:
            raise DatabaseUnavailable
        return write.outcome()

    def adopt(self, writes: Sequence[PendingWrite[R, T]]) -> None:
        """Have these settled by this committer. Raises DatabaseUnavailable once it was closed."""
        with self._wake:
            if self._closing:
                raise DatabaseUnavailable
            for write in writes:
                write.owner = self
            self._waiting.extend(writes)
            if self._thread is None or not self._thread.is_alive():
                self._start()
            self._wake.notify()

    def groups(self) -> set[Hashable]:
        """Which groups wait or are under way."""
        if self._together is None or not (self._waiting or self._under_way):
            return set()
        with self._wake:
            return {self._together(each.request) for each in (*self._under_way, *self._waiting)}

    def close(self) -> None:
        """Write what waits, end the thread, and close what it has open."""
        with self._wake:
            self._closing = True
            self._wake.notify()
            thread = self._thread
        if thread is not None:
            thread.join(_CLOSING_SECONDS)

    def begin_anew_after_fork(self) -> None:
        """In a fork's child, where the thread is not: leave its work and its connections to the parent."""
        self._begin_anew()
        self._batches.begin_anew()

    def _begin_anew(self) -> None:
        self._wake = threading.Condition()
        self._waiting: deque[PendingWrite[R, T]] = deque()
        self._under_way: Sequence[PendingWrite[R, T]] = ()
        self._thread, self._closing = None, False

    def _start(self) -> None:
        # A daemon, so that a process that never closes its database still ends; those that do wait for it.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self._waiting.clear()
            raise DatabaseUnavailable from error

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                try:
                    self._write()
                except BaseException as error:
                    # Whatever it is, the next callers are written for.
                    log_unavailable(error)
                    self._settle_rest(error)
        finally:
            self._batches.close()

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not self._waiting and not self._closing:
                self._wake.wait()
            return bool(self._waiting)

    def _write(self) -> None:
        began = False
        try:
            with self._batches.right_to_write(self._longest_wait()):
                batch = self._under_way = self._take()
                began = True
                if batch:
                    self._batches.commit(batch, answer)
        except Exception as error:
            if not began:
                self._under_way = self._take()
                self._give_time_to_later_ones(error)
            _note(error)
            self._settle_rest(error)
        else:
            self._settle_rest(DatabaseUnavailable())
        self._batches.tidy()

    def _longest_wait(self) -> float:
        with self._wake:
            return max((each.seconds_left for each in self._waiting), default=0.0)

    def _take(self) -> list[PendingWrite[R, T]]:
        """The next batch; whose caller has gone or has no time left is not begun."""
        with self._wake:
            taken: list[PendingWrite[R, T]] = []
            left: deque[PendingWrite[R, T]] = deque()
            group: Hashable = None
            while self._waiting and len(taken) < MOST_TOGETHER:
                write = self._waiting.popleft()
                if not write.is_wanted:
                    write.fail(DatabaseUnavailable())
                    continue
                if self._together is not None:
                    mine = self._together(write.request)
                    group = mine if not taken else group
                    if mine != group:
                        left.append(write)
                        continue
                taken.append(write)
            self._waiting = left + self._waiting
            return taken

    def _give_time_to_later_ones(self, error: BaseException) -> None:
        """Who came while others waited for the right to write has time of its own to wait for it."""
        if not isinstance(error, DatabaseUnavailable) or error.__cause__ is not None:
            return
        with self._wake:
            later = [each for each in self._under_way if each.is_wanted]
            self._waiting.extendleft(reversed(later))
            self._under_way = [each for each in self._under_way if not each.is_wanted]

    def _settle_rest(self, error: BaseException) -> None:
        """Fail what was taken and has neither been settled nor given to another committer."""
        rest = [each for each in self._under_way if each.owner is self and not each.is_settled]
        with self._wake:
            waiting = {id(each) for each in self._waiting}
        rest = [each for each in rest if id(each) not in waiting]
        self._under_way = ()
        for each in rest:
            each.fail(error)
        answer(rest)


def _note(error: BaseException) -> None:
    if not isinstance(error, DatabaseUnavailable):
        log_unavailable(error)
