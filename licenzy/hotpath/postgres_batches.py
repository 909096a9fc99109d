"""Many consumes of one Postgres transaction: two round trips, and every row locked once for all of them.

A batch waits a tenth of a second for locks at the most. It is then begun anew without the calls whose rows
others hold; those go by themselves, subject by subject, over a connection of their own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from licenzy.db.engine import gave_way, is_out_of_order
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.connections import BY_INDEX, PostgresOwner, failed_to_open
from licenzy.hotpath.consume import ConsumeFacts, ConsumeRequest, ConsumeResult, decide_batch
from licenzy.hotpath.consume_sql import PostgresStatements
from licenzy.hotpath.pending_write import PendingWrite, log_refusal
from licenzy.kit import deadline

BATCH_LOCK_SECONDS = 0.1
"""How long a batch waits for the locks of others."""
TURN_SECONDS = 0.05
"""How long the calls on one locked subject wait before it is the turn of those on another one."""
ALONE_SECONDS = 0.5
"""How long they wait while there are no others: whoever gives up a wait loses its place among writers."""
_IDLE_SECONDS = 0.9
"""After which part of the callers' time Postgres ends what it works on, so that it can still say so."""
_LOCKED, _TAKEN = "55P03", "23505"
_SAME_AGAIN = 3

Write: TypeAlias = PendingWrite[ConsumeRequest, ConsumeResult]
Answer: TypeAlias = Callable[[Sequence[Write]], None]


class PostgresBatches:
    """One connection of the committer's. `locked` is given the calls whose rows others hold."""

    def __init__(
        self,
        database: Database,
        *,
        prepares: bool,
        locked: Callable[[Sequence[Write]], None],
        lock_seconds: Callable[[], float] = lambda: BATCH_LOCK_SECONDS,
        skips_locked: bool = True,
        elsewhere: Callable[[], set[Any]] = set,
    ) -> None:
        self._owner, self._database = PostgresOwner(database), database
        self._prepares, self._locked, self._lock_seconds = prepares, locked, lock_seconds
        self._skips_locked, self._elsewhere = skips_locked, elsewhere
        self._is_committing = False
        """Whether a commit was sent: should its answer be lost, nobody knows what it came to."""

    def right_to_write(self, seconds: float) -> AbstractContextManager[None]:
        return nullcontext()

    def commit(self, batch: Sequence[Write], answer: Answer) -> None:
        """Settle all of it, in parts where one call is in the way of others."""
        with deadline.within(max(each.seconds_left for each in batch)):
            self._database.admit()
            parts = [self._not_elsewhere(batch)]
            while parts:
                part = [each for each in parts.pop() if each.is_wanted]
                if part:
                    parts += self._settle(part, answer)

    def tidy(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        connection, self._owner.connection = self._owner.connection, None
        if connection is not None:
            connection.close()

    def begin_anew(self) -> None:
        self._owner.begin_anew()

    def _not_elsewhere(self, batch: Sequence[Write]) -> Sequence[Write]:
        """Without those whose subject is known to be locked: they join the ones that wait for it."""
        subjects = self._elsewhere()
        if not subjects:
            return batch
        there = [each for each in batch if subject_of(each.request) in subjects]
        if there:
            self._locked(there)
        return [each for each in batch if subject_of(each.request) not in subjects]

    def _settle(self, part: Sequence[Write], answer: Answer) -> list[Sequence[Write]]:
        """Settle a part of a batch; what is to be tried again by itself."""
        try:
            self._in_one_transaction(part, answer)
        except Exception as error:
            if len(part) > 1 and (gave_way(error) or not is_out_of_order(error)):
                middle = len(part) // 2
                return [part[middle:], part[:middle]]
            if gave_way(error):
                time.sleep(random.uniform(0.002, 0.01))
                return [part]
            log_refusal(error)
            for each in part:
                each.fail(error)
            answer(part)
        return []

    def _in_one_transaction(self, part: Sequence[Write], answer: Answer) -> None:
        """Settle a part in one transaction, or what of it nobody holds, and give the rest away."""
        try:
            return self._again(part, answer, PostgresStatements())
        except Exception as error:
            if getattr(error, "sqlstate", None) != _LOCKED:
                raise
        if self._skips_locked:
            try:
                return self._again(part, answer, PostgresStatements(skip_locked=True))
            except Exception as error:
                # What is still waited for are keys that others are about to store.
                if getattr(error, "sqlstate", None) != _LOCKED:
                    raise
        return self._locked(part)

    def _again(self, part: Sequence[Write], answer: Answer, statements: PostgresStatements) -> None:
        """One transaction, begun anew where that may help: on a new connection, or for keys just stored."""
        tries = 0
        while True:
            tries += 1
            try:
                return self._transact(part, answer, statements)
            except Exception as error:
                replaced = self._recover(error)
                if getattr(error, "sqlstate", None) == _TAKEN and tries < _SAME_AGAIN:
                    continue  # Now the keys are seen, and their calls are replays.
                if replaced and not self._is_committing:
                    continue
                raise

    def _transact(self, part: Sequence[Write], answer: Answer, statements: PostgresStatements) -> None:
        self._is_committing = False
        connection = self._connected()
        requests = [each.request for each in part]
        facts = self._read(connection, statements, requests)
        # While locks were waited for, callers may have gone.
        free = [at for at, fact in enumerate(facts) if not fact.is_locked and part[at].is_wanted]
        written, decided = [part[at] for at in free], _decided(requests, facts, free)
        results, writes = decided
        with connection.pipeline():
            if writes.keys:
                self._run(connection, *statements.writing(writes))
            self._is_committing = True
            ended = connection.execute("COMMIT")
        if ended.statusmessage != "COMMIT":
            raise DatabaseUnavailable
        self._owner.was_used = True
        for each, result in zip(written, results, strict=True):
            each.succeed(result)
        answer(written)
        if locked := [each for each in part if each.is_wanted]:
            self._locked(locked)

    def _read(
        self, connection: Any, statements: PostgresStatements, requests: Sequence[ConsumeRequest]
    ) -> list[ConsumeFacts]:
        """Begin the transaction, bound its waits, lock and read: one round trip."""
        left = max(1, int(deadline.seconds_left() * 1000 * _IDLE_SECONDS))
        patience = max(1, min(left, int(self._lock_seconds() * 1000)))
        connection.note_statement_timeout(left)
        with connection.pipeline():
            connection.execute("BEGIN")
            # Within the transaction only: behind a transaction pooler a session belongs to nobody.
            self._run(connection, _LIMITS, (str(patience), str(left)))
            packs = self._run(connection, *statements.locking(requests))
            rows = self._run(connection, *statements.reading(requests))
        return statements.facts(packs.fetchall(), rows.fetchall(), len(requests))

    def _run(self, connection: Any, statement: str, parameters: Sequence[Any]) -> Any:
        words = self._owner.kept.words(statement) if self._prepares else statement
        return connection.execute(words, parameters, prepare=self._prepares)

    def _connected(self) -> Any:
        from licenzy.db import postgres

        connection = self._owner.usable()
        if connection is not None:
            return connection
        self._owner.opening()
        try:
            opened = postgres.connect_with_limits(
                postgres.parameters_of(self._database.engine), options=BY_INDEX
            )
        except Exception as error:
            failed_to_open(self._owner, error)
            raise
        if not self._prepares:
            opened.prepare_threshold = None
        return self._owner.opened(opened)

    def _recover(self, error: BaseException) -> bool:
        """Leave a connection without a transaction, or none; whether another one may do better."""
        if self._owner.connection is None:
            return False
        if self._owner.failed(error):
            return True
        connection = self._owner.usable()
        if connection is not None:
            try:
                connection.rollback()
            except Exception:
                self._owner.drop()
        return False


def subject_of(request: ConsumeRequest) -> tuple[str, str]:
    """What calls on the same rows have in common."""
    return request.key_hash, request.subject_ref


def _decided(
    requests: Sequence[ConsumeRequest], facts: Sequence[ConsumeFacts], free: Sequence[int]
) -> tuple[list[ConsumeResult], Any]:
    return decide_batch([requests[at] for at in free], [facts[at] for at in free])


_LIMITS = "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)"
