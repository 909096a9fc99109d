"""Begin, finish and free a call under its Idempotency-Key.

A call begins by taking the key under a lease, in a transaction of its own. It ends by storing its outcome,
which every repeat is given again, or by freeing the key, so that a mended set-up works at the next
try. A crash in between is cured by the lease running out.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_
from sqlmodel import Session, bindparam, col, select, update
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.reads import read_one
from licenzy.db.upsert import insert_unless_there
from licenzy.errors import IdempotencyInProgress, IdempotencyKeyReused
from licenzy.idempotency.models import CHECKOUT, IdempotencyKey
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.lease import Lease, is_free
from licenzy.projects.scope import Scope

LEASE = Lease(timedelta(seconds=30))
"""Longer than any call under a key may take."""
KEPT = timedelta(hours=72)
"""How long a checkout's key is remembered; its session at Stripe lives 24 hours."""
_MOST_FORGOTTEN = 500


@dataclass(frozen=True, slots=True)
class CallKey:
    """A call's Idempotency-Key: the same word on another side or for another endpoint is another key."""

    scope: Scope
    endpoint: str
    key: str

    def columns(self) -> dict[str, Any]:
        """The primary key of its row."""
        return {
            "project_id": self.scope.project_id,
            "mode": self.scope.mode,
            "endpoint": self.endpoint,
            "key": self.key,
        }


@dataclass(frozen=True, slots=True)
class Begun:
    """Either the outcome to give again, or the right to run as `holder`."""

    replay: Outcome | None
    holder: str
    attempt_id: str | None
    """The checkout attempt an earlier, unfinished call of this key made."""


def begin(db: Session, call_key: CallKey, *, body_hash: str, now: datetime) -> Begun:
    """Take the key. Raises IdempotencyKeyReused for another body, IdempotencyInProgress while one runs."""
    holder = secrets.token_hex(8)
    fresh = insert_unless_there(
        db,
        IdempotencyKey,
        {
            **call_key.columns(),
            "body_hash": body_hash,
            "holder": holder,
            "leased_until": LEASE.until(now),
            "created_at": now,
        },
    )
    if fresh:
        return Begun(None, holder, None)
    row = _locked_key(db, call_key.scope, endpoint=call_key.endpoint, key=call_key.key)
    if row.body_hash != body_hash:
        raise IdempotencyKeyReused
    if row.response_status is not None:
        return Begun(Outcome(row.response_status, row.response_body or ""), holder, row.attempt_id)
    if not is_free(row.leased_until, now):
        raise IdempotencyInProgress
    row.holder = holder
    row.leased_until = LEASE.until(now)
    db.flush()
    return Begun(None, holder, row.attempt_id)


def extend_lease(db: Session, call_key: CallKey, *, holder: str, now: datetime) -> None:
    """Keep the key for a call that goes on. Raises IdempotencyInProgress when another call has taken it."""
    if (
        db.exec(_EXTENDED, params={**_key_params(call_key), "by": holder, "until": LEASE.until(now)}).first()
        is None
    ):
        raise IdempotencyInProgress


def bind_attempt(db: Session, call_key: CallKey, *, attempt_id: str) -> None:
    """Remember which checkout attempt this key stands for, whatever becomes of the call."""
    db.exec(_BOUND, params={**_key_params(call_key), "attempt": attempt_id})


def bound_attempt_id(db: Session, call_key: CallKey) -> str | None:
    """The checkout attempt that a key which is taken stands for."""
    return _locked_key(db, call_key.scope, endpoint=call_key.endpoint, key=call_key.key).attempt_id


def finish(db: Session, call_key: CallKey, *, holder: str, outcome: Outcome) -> None:
    """Store the outcome that every repeat is given.

    Raises IdempotencyInProgress when the lease ran out and another call has taken the key since: what is
    told then is for that call to say.
    """
    stored = {"status": outcome.status, "body": outcome.body}
    if db.exec(_FINISHED, params={**_key_params(call_key), "by": holder, **stored}).first() is None:
        raise IdempotencyInProgress


def free(db: Session, call_key: CallKey, *, holder: str) -> None:
    """End without an outcome: the next call with the same body runs again."""
    db.exec(_FREED, params={**_key_params(call_key), "by": holder})


def forget_old(db: Session, *, now: datetime) -> int:
    """Forget checkout keys that are older than KEPT, some at a time; how many. Keys of consumption stay."""
    old = (
        select(IdempotencyKey)
        .where(IdempotencyKey.endpoint == CHECKOUT, col(IdempotencyKey.created_at) <= now - KEPT)
        .order_by(col(IdempotencyKey.created_at))
        .limit(_MOST_FORGOTTEN)
    )
    forgotten = db.exec(old).all()
    for row in forgotten:
        db.delete(row)
    db.flush()
    return len(forgotten)


@read_one
def _locked_key(scope: Scope, *, endpoint: str, key: str) -> SelectOfScalar[IdempotencyKey]:
    return (
        select(IdempotencyKey)
        .where(
            IdempotencyKey.project_id == scope.project_id,
            IdempotencyKey.mode == scope.mode,
            IdempotencyKey.endpoint == endpoint,
            IdempotencyKey.key == key,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _key_params(call_key: CallKey) -> dict[str, Any]:
    """The scope as the statements below take it."""
    return {f"this_{name}": value for name, value in call_key.columns().items()}


_SAME_KEY = and_(
    col(IdempotencyKey.project_id) == bindparam("this_project_id"),
    col(IdempotencyKey.mode) == bindparam("this_mode"),
    col(IdempotencyKey.endpoint) == bindparam("this_endpoint"),
    col(IdempotencyKey.key) == bindparam("this_key"),
)
_OWNED_BY_HOLDER = and_(_SAME_KEY, col(IdempotencyKey.holder) == bindparam("by"))
_CHANGED = update(IdempotencyKey).execution_options(synchronize_session=False)
_BOUND = _CHANGED.where(_SAME_KEY).values(attempt_id=bindparam("attempt"))
_FINISHED = (
    _CHANGED.where(_OWNED_BY_HOLDER)
    .values(
        response_status=bindparam("status"), response_body=bindparam("body"), holder=None, leased_until=None
    )
    .returning(col(IdempotencyKey.key))
)
_EXTENDED = (
    _CHANGED.where(_OWNED_BY_HOLDER)
    .values(leased_until=bindparam("until"))
    .returning(col(IdempotencyKey.key))
)
_FREED = _CHANGED.where(_OWNED_BY_HOLDER).values(holder=None, leased_until=None)
