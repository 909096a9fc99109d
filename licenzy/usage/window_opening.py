"""Calls that draw units, where the windows that are due have to be opened first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.kit.clock import Clock
from licenzy.projects.scope import Scope
from licenzy.usage.actions import return_expired_reservations
from licenzy.usage.windows import WindowsDue, open_windows

T = TypeVar("T")
_TRIES = 5
"""How often facts may change what is due while a call waits; each change takes one more try."""


def with_open_windows(
    database: Database,
    scope: Scope,
    work: Callable[[Session], T],
    *,
    subject_ref: str,
    now: datetime,
    clock: Clock,
) -> T:
    """What `work` gives, which may raise WindowsDue: then they are opened, and it is called again.

    `now` is the account's time, and `clock` gives real time. Raises DatabaseUnavailable where windows are due
    again and again, and whatever else `work` raises.
    """
    for _ in range(_TRIES):
        try:
            return database.retrying(work)
        except WindowsDue as due:
            _open(database, scope, due, subject_ref, now, clock())
    raise DatabaseUnavailable


def _open(
    database: Database, scope: Scope, due: WindowsDue, subject_ref: str, now: datetime, called_at: datetime
) -> None:
    """In transactions of their own: what they lock comes before what the call holds by now."""
    if (subject_id := due.subject_id) is not None:
        # What is reserved no longer is not taken from the windows that are opened.
        database.retrying(lambda db: return_expired_reservations(db, scope, subject_id=subject_id, now=now))
    database.retrying(
        lambda db: open_windows(
            db, scope, subject_id=due.subject_id, subject_ref=subject_ref, now=now, called_at=called_at
        )
    )
