"""Counting wrong passwords, in the database, so that a limit holds over all workers together.

A try is counted before its password is looked at, so that parallel tries cannot slip past together, and
taken back when the password is right. A try that is refused only reads: guessing on costs no write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.reads import read_all
from licenzy.db.unit_of_work import Database
from licenzy.errors import RateLimited
from licenzy.kit.clock import from_micros, to_micros
from licenzy.workspace import rules
from licenzy.workspace.audit import Actor, is_recorded, record_once
from licenzy.workspace.rules import Throttle
from licenzy.workspace.sign_in_models import PasswordTries

_FORGOTTEN_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Spent:
    """A throttle that lets nothing through now, and for how much longer."""

    throttle: Throttle
    wait: timedelta


class TooManyTries(RateLimited):
    """No password is looked at for a while. `account` says whether it is for one account."""

    def __init__(self, spent: Spent) -> None:
        seconds = max(1, math.ceil(spent.wait.total_seconds()))
        self.account = spent.throttle.of == "account"
        super().__init__(
            _TOO_MANY[spent.throttle.of],
            hint=f"Try again in {rules.wait_in_words(seconds)}.",
            retry_after=seconds,
        )


_TOO_MANY = {
    "account": "Too many wrong passwords were tried for this e-mail address.",
    "address": "Too many sign-ins failed from your network in the last minute.",
    "device": "Too many wrong passwords were tried in this browser.",
    "reset": "Too many links to reset the password of this e-mail address were requested.",
    "reset_address": "Too many links to reset passwords were requested from your network.",
    "session": "Too many wrong passwords were tried in this session.",
    "second_factor": "Too many wrong codes were tried for this account.",
}


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """What was seen of a try before it is counted."""

    action: str
    """What the audit log calls the refusal of it."""
    spent: Spent | None
    """What it is going to be refused for."""
    recorded: bool
    """Whether such a refusal was recorded lately."""


Choices = Sequence[Sequence[Throttle]]
"""Ways in which a try may be counted, the best first: each by several throttles together."""


def throttle_state(db: Session, choices: Choices, *, action: str, now: datetime) -> ThrottleState:
    """Whether a try is going to be refused, found out by reading alone: most of those who guess on are."""
    rows = _rows(db, keys=[throttle.key for throttles in choices for throttle in throttles])
    tries = {row.key: [from_micros(each) for each in row.tries] for row in rows}
    spent = _first_to_end([_spent(throttles, tries, now=now) for throttles in choices])
    if spent is None:
        return ThrottleState(action, None, recorded=False)
    return ThrottleState(action, spent, is_recorded(db, action=action, key=spent.throttle.key, now=now))


def count_try(
    database: Database, choices: Choices, state: ThrottleState, *, actor: Actor, now: datetime
) -> Sequence[Throttle]:
    """Count one try of a password, by the first of the choices that has one left in each of its throttles.

    Gives that choice, for `take_back_try`. Raises TooManyTries when there is none, with a row in the audit
    log once an hour; then nothing was counted.
    """
    spent = state.spent
    if spent is None:
        counted = _count(database, choices, now=now)
        if not isinstance(counted, Spent):
            return counted
        spent = counted
    if not state.recorded:
        throttle = spent.throttle
        with database.write() as db:
            record_once(
                db,
                actor=actor,
                action=state.action,
                key=throttle.key,
                about=throttle.about,
                after={"limit": throttle.of},
                now=now,
            )
    raise TooManyTries(spent)


def take_back_try(db: Session, *, throttles: Sequence[Throttle], now: datetime) -> None:
    """Give back what `count_try` counted at `now`: only wrong passwords count."""
    for throttle in _in_order(throttles):
        row = db.get(PasswordTries, throttle.key, populate_existing=True, with_for_update=True)
        if row is not None and to_micros(now) in row.tries:
            left = list(row.tries)
            left.remove(to_micros(now))
            row.tries = left
    db.flush()


def _count(database: Database, choices: Choices, *, now: datetime) -> Sequence[Throttle] | Spent:
    spent: list[Spent | None] = []
    for throttles in choices:
        spent.append(database.retrying(lambda db, these=throttles: _use_up(db, these, now=now)))  # type: ignore[misc]
        if spent[-1] is None:
            return throttles
    found = _first_to_end(spent)
    assert found is not None
    return found


def _use_up(db: Session, throttles: Sequence[Throttle], *, now: datetime) -> Spent | None:
    tries = {throttle.key: _locked_tries(db, throttle, now=now) for throttle in _in_order(throttles)}
    spent = _spent(throttles, tries, now=now)
    if spent is not None:
        return spent
    for throttle in throttles:
        counted = [*throttle.limit.recent(tries[throttle.key], now=now), now]
        db.execute(
            update(PasswordTries)
            .where(col(PasswordTries.key) == throttle.key)
            .values(
                tries=[to_micros(each) for each in counted], forget_at=max(counted) + throttle.limit.window
            )
        )
    _forget_old(db, now=now)
    return None


def _spent(throttles: Sequence[Throttle], tries: dict[str, list[datetime]], *, now: datetime) -> Spent | None:
    waits = [
        Spent(throttle, throttle.limit.wait(tries.get(throttle.key, ()), now=now)) for throttle in throttles
    ]
    longest = max(waits, key=lambda each: each.wait)
    return longest if longest.wait else None


def _first_to_end(spent: Sequence[Spent | None]) -> Spent | None:
    """Of choices that are all spent, the one to wait for; none when one of them is not."""
    waited_for = [each for each in spent if each is not None]
    return min(waited_for, key=lambda each: each.wait) if len(waited_for) == len(spent) else None


@read_all
def _rows(*, keys: Sequence[str]) -> SelectOfScalar[PasswordTries]:
    return select(PasswordTries).where(col(PasswordTries.key).in_(keys))


def _locked_tries(db: Session, throttle: Throttle, *, now: datetime) -> list[datetime]:
    """The tries of a row that is made if need be, and is ours until the transaction ends."""
    on_sqlite = db.get_bind().dialect.name == "sqlite"
    insert = sqlite_insert if on_sqlite else postgres_insert
    statement = insert(PasswordTries).values(key=throttle.key, tries=[], forget_at=now)
    locked = statement.on_conflict_do_update(
        index_elements=["key"], set_={"key": statement.excluded.key}
    ).returning(col(PasswordTries.tries))
    return [from_micros(each) for each in db.execute(locked).scalar_one()]


def _forget_old(db: Session, *, now: datetime) -> None:
    """Called last, and without waiting for rows that others hold: two of these could wait for each other."""
    old = (
        select(PasswordTries.key)
        .where(col(PasswordTries.forget_at) <= now)
        .limit(_FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    db.execute(delete(PasswordTries).where(col(PasswordTries.key).in_(old)))


def _in_order(throttles: Sequence[Throttle]) -> list[Throttle]:
    """As everybody locks them, so that two who need the same ones do not wait for each other."""
    return sorted(throttles, key=lambda throttle: throttle.key)
