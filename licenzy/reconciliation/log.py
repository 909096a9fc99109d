"""How a walk goes and went: its step while it is under way, and its report once it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Self

from sqlmodel import Session, col, delete, select, update

from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.errors import LicenzyError
from licenzy.kit.clock import Clock
from licenzy.kit.ids import new_id
from licenzy.reconciliation.models import FinishedWalk, Reconciliation
from licenzy.reconciliation.walk import Report

WALKS_KEPT = 60
"""Of each connection: two and a half days of hourly walks."""


class WalkLog:
    """Around one walk: notes each step it takes, and how it ended."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        clock: Clock,
        began: datetime,
        report: Report,
        *,
        full: bool,
    ) -> None:
        self._database = database
        self._connection = connection
        self._clock = clock
        self._began = began
        self._report = report
        self._full = full
        self._requested_by: str | None = None
        self._step = ""
        self._with_end: Callable[[Session], None] = lambda _db: None

    def step(self, name: str) -> None:
        """Say what the walk is looking at."""
        self._step = name
        self._database.retrying(lambda db: self._note_step(db, name))

    def seen(self, count: int) -> None:
        """Say how much of it has been looked at."""
        self._database.retrying(lambda db: self._note_step(db, f"{self._step}, {count:,} so far"))

    def with_end(self, work: Callable[[Session], None]) -> None:
        """Do this in the transaction that tells of the end: whoever looks sees both or neither."""
        self._with_end = work

    def __enter__(self) -> Self:
        with self._database.read() as db:
            row = db.get(Reconciliation, self._connection.id)
        if row is not None and row.requested_at is not None and self._full:
            self._requested_by = row.requested_by
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        said = None
        if problem is not None:
            broken = f"It failed: {type(problem).__name__}."
            said = problem.message if isinstance(problem, LicenzyError) else broken
        self._database.retrying(lambda db: self._finish(db, said))

    def _note_step(self, db: Session, name: str | None) -> None:
        here = col(Reconciliation.connection_id) == self._connection.id
        db.exec(update(Reconciliation).where(here).values(step=name))

    def _finish(self, db: Session, problem: str | None) -> None:
        if problem is None:
            self._with_end(db)
        self._note_step(db, None)
        db.add(
            FinishedWalk(
                id=new_id("wlk"),
                project_id=self._connection.project_id,
                mode=self._connection.mode,
                connection_id=self._connection.id,
                full=self._full,
                requested_by=self._requested_by,
                began_at=self._began,
                ended_at=self._clock(),
                problem=problem,
                report=asdict(self._report),
            )
        )
        db.flush()
        self._forget_old(db)

    def _forget_old(self, db: Session) -> None:
        own = col(FinishedWalk.connection_id) == self._connection.id
        newest = select(FinishedWalk.id).where(own).order_by(col(FinishedWalk.id).desc()).offset(WALKS_KEPT)
        oldest_kept = db.exec(newest.limit(1)).first()
        if oldest_kept is not None:
            db.exec(delete(FinishedWalk).where(own, col(FinishedWalk.id) <= oldest_kept))
