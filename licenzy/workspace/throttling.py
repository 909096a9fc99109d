"""Counting tries to sign in, in the database, so that a limit holds over all workers together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session, col

from licenzy.workspace.models import SignInTries
from licenzy.workspace.rules import Throttle


def count_try(db: Session, *, throttles: Sequence[Throttle], now: datetime) -> int | None:
    """Use up one try of each counter; the whole seconds to wait when one of them has none left.

    Counting and comparing is one statement per counter, so parallel tries cannot slip past together.
    """
    db.execute(delete(SignInTries).where(col(SignInTries.ends_at) <= now))
    waits = [
        int((throttle.ends_at(now) - now).total_seconds()) + 1
        for throttle in throttles
        if _raised(db, throttle, now=now) > throttle.most
    ]
    return max(waits, default=None)


def take_back_try(db: Session, *, throttles: Sequence[Throttle], now: datetime) -> None:
    """Give back what `count_try` used up: only wrong passwords count."""
    for throttle in throttles:
        db.execute(
            update(SignInTries)
            .where(
                col(SignInTries.key) == throttle.key,
                col(SignInTries.window) == throttle.number(now),
                col(SignInTries.tries) > 0,
            )
            .values(tries=col(SignInTries.tries) - 1)
        )


def _raised(db: Session, throttle: Throttle, *, now: datetime) -> int:
    """The counter after raising it by one."""
    on_sqlite = db.get_bind().dialect.name == "sqlite"
    insert = sqlite_insert if on_sqlite else postgres_insert
    statement = insert(SignInTries).values(
        key=throttle.key, window=throttle.number(now), tries=1, ends_at=throttle.ends_at(now)
    )
    raised = statement.on_conflict_do_update(
        index_elements=["key", "window"], set_={"tries": col(SignInTries.tries) + 1}
    ).returning(col(SignInTries.tries))
    return int(db.execute(raised).scalar_one())
