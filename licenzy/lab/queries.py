"""Reads of the lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.catalog.queries import has_trials
from licenzy.checkout.models import CheckoutAttempt
from licenzy.checkout.queries import attempt_by_id
from licenzy.connections.models import Connection, Provider
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import wanted_events
from licenzy.db.reads import read_all, read_first
from licenzy.entitlements.decision import only_entitlements
from licenzy.entitlements.queries import entitlements_and_overrides_of
from licenzy.errors import NotFound
from licenzy.lab.models import LabStep
from licenzy.lab.rules import (
    PATIENCE,
    Arrival,
    Holdings,
    StepShown,
    ended_at,
    history,
    holdings,
    out_of_step,
)
from licenzy.lab.units import balances_of
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import SettlingRead, StripeEvent
from licenzy.subjects.models import Subject
from licenzy.usage.queries import default_of
from licenzy.usage.recent_windows import recent_windows_of
from licenzy.usage.rules import Balance
from licenzy.usage.window_history import MOST_SHOWN, windows_around
from licenzy.usage.window_queries import window_grants_of

MOST_STEPS = 100
_MOST_PURCHASES = 20


@dataclass(frozen=True, slots=True)
class Bench:
    """One purchase in the lab, as far as it has come."""

    attempt: CheckoutAttempt
    subject: Subject
    current: Holdings
    steps: list[StepShown]
    """Newest first."""
    out_of_step: bool
    """Whether Stripe knows of something that was kept from us on purpose."""

    settling: bool
    """Whether something that events touched is still to be read from Stripe once more."""

    balances: dict[str, Balance]
    """What the customer has left of each unit."""

    clock_moving: bool
    """Whether the account's clock moves, for this purchase or for another."""

    @property
    def waiting(self) -> bool:
        """Whether the clock moves, or events of the last step are still on their way."""
        return self.clock_moving or (bool(self.steps) and self.steps[0].waiting)

    @property
    def moving(self) -> bool:
        """Whether the last step may yet change something by itself."""
        return self.waiting or self.settling


def sandbox_connection(db: Session, scope: Scope) -> Connection | None:
    """The side's connection when it is one to the sandbox, with a key; the lab needs one. Never in live."""
    connection = None if scope.mode.livemode else connection_of(db, scope)
    if connection is None or connection.provider is not Provider.SANDBOX or connection.key_sealed is None:
        return None
    return connection


@read_all
def purchases(scope: Scope, *, connection_id: str) -> Select[CheckoutAttempt, Subject]:
    """The last checkouts opened at this connection, newest first."""
    return (
        select(CheckoutAttempt, Subject)
        .join(Subject)
        .where(
            CheckoutAttempt.project_id == scope.project_id,
            CheckoutAttempt.mode == scope.mode,
            CheckoutAttempt.connection_id == connection_id,
            col(CheckoutAttempt.stripe_checkout_session_id).is_not(None),
        )
        .order_by(col(CheckoutAttempt.created_at).desc(), col(CheckoutAttempt.id).desc())
        .limit(_MOST_PURCHASES)
    )


def bench(db: Session, scope: Scope, *, attempt_id: str, now: datetime) -> Bench:
    """A purchase with its history. Raises NotFound for what was not bought at the sandbox."""
    connection, attempt = purchase_in_lab(db, scope, attempt_id=attempt_id)
    subject = db.get_one(Subject, (attempt.project_id, attempt.mode, attempt.subject_id))
    current = holdings_of(db, scope, subject_id=subject.id, now=connection.scope.at(now))
    steps = steps_of(db, scope, attempt_id=attempt_id)
    ids = [event["id"] for step in steps for event in step.events]
    arrived = arrivals(db, scope, event_ids=ids)
    wanted = wanted_events(connection.provider, has_trials=has_trials(db, scope))
    return Bench(
        attempt=attempt,
        subject=subject,
        current=current,
        steps=history(steps, arrived, current, wanted=wanted, now=now),
        out_of_step=out_of_step(steps),
        settling=_settling(db, scope, since=ended_at(steps[-1]) if steps else now, now=now),
        balances=balances_of(db, scope, subject_id=subject.id, now=connection.scope.at(now)),
        clock_moving=bool(running_steps(db, scope)),
    )


def holdings_of(db: Session, scope: Scope, *, subject_id: str, now: datetime) -> Holdings:
    """What a subject holds at `now`, with the windows of what it includes and the limits that it has."""
    owned = entitlements_and_overrides_of(db, scope, subject_id=subject_id)
    including = [each for each in only_entitlements(owned) if each.included]
    grants = window_grants_of(db, scope, including, now=now)
    recent = recent_windows_of(db, scope, including, now=now, limit=MOST_SHOWN)
    windows = {each.id: windows_around(each, grants, recent, now) for each in including}
    return holdings(owned, now, windows, default=default_of(db, scope))


def purchase_in_lab(db: Session, scope: Scope, *, attempt_id: str) -> tuple[Connection, CheckoutAttempt]:
    """The sandbox connection and the attempt that was opened there. Raises NotFound."""
    connection = sandbox_connection(db, scope)
    attempt = attempt_by_id(db, scope, attempt_id=attempt_id)
    if connection is None or attempt is None or attempt.stripe_checkout_session_id is None:
        raise NotFound("This purchase does not exist in the lab.")
    return connection, attempt


def steps_of(db: Session, scope: Scope, *, attempt_id: str) -> list[LabStep]:
    """What was let happen to a purchase, oldest first; the last `MOST_STEPS` of it."""
    return _newest_steps(db, scope, attempt_id=attempt_id)[::-1]


@read_all
def _newest_steps(scope: Scope, *, attempt_id: str) -> SelectOfScalar[LabStep]:
    return (
        select(LabStep)
        .where(
            LabStep.project_id == scope.project_id,
            LabStep.mode == scope.mode,
            LabStep.attempt_id == attempt_id,
        )
        .order_by(col(LabStep.id).desc())
        .limit(MOST_STEPS)
    )


@read_all
def running_steps(scope: Scope) -> SelectOfScalar[LabStep]:
    """The steps of a side whose clock is still moving; the sandbox runs one at a time."""
    return select(LabStep).where(
        LabStep.project_id == scope.project_id,
        LabStep.mode == scope.mode,
        col(LabStep.progress).is_not(None),
    )


@read_all
def all_running_steps() -> SelectOfScalar[LabStep]:
    """The steps of any project whose clock is still moving, oldest first."""
    return select(LabStep).where(col(LabStep.progress).is_not(None)).order_by(col(LabStep.id))


def _settling(db: Session, scope: Scope, *, since: datetime, now: datetime) -> bool:
    return now - since < PATIENCE and _object_to_read(db, scope) is not None


@read_first
def _object_to_read(scope: Scope) -> SelectOfScalar[str]:
    return (
        select(SettlingRead.object_id)
        .where(
            SettlingRead.project_id == scope.project_id,
            SettlingRead.mode == scope.mode,
            col(SettlingRead.due_at).is_not(None),
        )
        .limit(1)
    )


def arrivals(db: Session, scope: Scope, *, event_ids: Sequence[str]) -> dict[str, Arrival]:
    """Those of these events that have arrived, by id."""
    rows = _arrived(db, scope, event_ids=event_ids)
    return {id_: Arrival(1 + again, str(status), bool(changes)) for id_, again, status, changes in rows}


@read_all
def _arrived(scope: Scope, *, event_ids: Sequence[str]) -> Select[str, int, str, Sequence[Any]]:
    return select(
        StripeEvent.event_id, StripeEvent.duplicates, StripeEvent.status, StripeEvent.changes
    ).where(
        StripeEvent.project_id == scope.project_id,
        StripeEvent.mode == scope.mode,
        col(StripeEvent.event_id).in_(event_ids),
    )
