"""Using a customer's units, as a merchant's backend does."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from licenzy.entitlements.queries import entitlements_and_overrides_of
from licenzy.idempotency.actions import CallKey
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.usage import actions
from licenzy.usage.actions import ReserveRequest
from licenzy.usage.default_units import grants_with_default
from licenzy.usage.results import Committed, Refused, Reserved
from licenzy.usage.rules import Balance, balances
from licenzy.usage.window_opening import with_open_windows

_ENDPOINT = "lab/use"


def balances_of(db: Session, scope: Scope, *, subject_id: str, now: datetime) -> dict[str, Balance]:
    """What a subject has left at `now`, by unit, with what the default product includes."""
    owned = entitlements_and_overrides_of(db, scope, subject_id=subject_id)
    windows = grants_with_default(db, scope, owned, now=now)
    return balances([*owned, *windows], now)


def use_units(
    database: Database, scope: Scope, *, wish: ReserveRequest, called_at: datetime
) -> Committed | Refused:
    """Take units of a subject, all or none.

    `scope` has the clock of its account, and `called_at` is real time. Raises UnitNotFound and
    DatabaseUnavailable.
    """
    now, key = scope.at(called_at), CallKey(scope, _ENDPOINT, new_id("req"))
    work = partial(_use, key=key, wish=wish, called_at=called_at, now=now)
    return with_open_windows(
        database, scope, work, subject_ref=wish.subject_ref, now=now, clock=lambda: called_at
    )


def _use(
    db: Session, *, key: CallKey, wish: ReserveRequest, called_at: datetime, now: datetime
) -> Committed | Refused:
    """Reserved and committed in one transaction."""
    reserved: list[Reserved | Refused] = []
    actions.reserve(
        db,
        key=key,
        wish=wish,
        body_hash="",
        render=partial(_kept, reserved),
        called_at=called_at,
        now=now,
    )
    (answer,) = reserved
    if isinstance(answer, Refused):
        return answer
    actions.commit(
        db,
        key.scope,
        reservation_id=answer.reservation_id,
        units=answer.units,
        request_id=key.key,
        render=lambda _done: "",
        called_at=called_at,
        now=now,
    )
    return Committed(answer.units, 0, answer.remaining)


def _kept(found: list[Reserved | Refused], answer: Reserved | Refused) -> Outcome:
    found.append(answer)
    return Outcome(200, "")
