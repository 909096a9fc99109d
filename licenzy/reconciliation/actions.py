"""Walk an account at Stripe: missed events, then the state of what is known, and heal what differs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_
from sqlmodel import Session, col, select, update

from licenzy.connections.models import Connection
from licenzy.connections.rate_limit import paced_access
from licenzy.db.leases import is_free, take_lease
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import insert_unless_there
from licenzy.kit.clock import Clock, rfc3339
from licenzy.kit.lease import Lease
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.queries import is_worked_on
from licenzy.reconciliation.log import WalkLog
from licenzy.reconciliation.models import Reconciliation
from licenzy.reconciliation.walk import OVERLAP, Report, Walk
from licenzy.stripe_gateway.client import StripeGateway

EVERY = timedelta(hours=1)
LEASE = Lease(timedelta(minutes=15))
"""After a walk that failed, or died, this long passes before the next try."""

EVENTS_KEPT = timedelta(days=30)
"""Stripe lists events of the last 30 days only."""


def reconcile(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    *,
    connection: Connection,
    clock: Clock,
    since: datetime | None = None,
    full: bool = True,
) -> Report:
    """Walk one connection's account: its events and, with `full`, the present state of what is known.

    That state is looked at in any case where events are missing for good, because Stripe keeps them 30 days.
    What was missed goes through the inbox like any other event. The cursor moves only when the walk came
    to its end, and never over a stretch that it left out. Raises Stripe's refusals; what was repaired until
    then stays.
    """
    began = clock()
    report = Report(connection.id, rfc3339(began))
    log = WalkLog(database, connection, clock, began, report, full=full)
    with log:
        at = paced_access(database, gateway, secret_box, connection)
        walk = Walk(database, gateway, secret_box, at, connection, clock, report, log.seen)
        with database.read() as db:
            last = db.get(Reconciliation, connection.id)
        # By the account's own clock, which is ahead of ours when it is a sandbox whose clock was moved: what
        # happened on the way was before the time that it shows now.
        there = connection.scope.at(began)
        reached = _reached(last, connection, there)
        start = reached - OVERLAP if since is None else connection.scope.at(since)
        log.step("events")
        newest = walk.events(max(start, there - EVENTS_KEPT))
        if full or start < there - EVENTS_KEPT:
            for name, step in walk.present_state(start):
                log.step(name)
                step()
        reached = there if start <= reached else reached
        log.with_end(lambda db: _remember(db, connection, newest, reached, report, began))
    return report


def _reached(last: Reconciliation | None, connection: Connection, there: datetime) -> datetime:
    """Up to when everything in the account is known to have been seen, where it is now `there`."""
    if last is None or last.reconciled_to is None:
        return min(connection.created_at, there)
    if last.reconciled_to <= there:
        return last.reconciled_to
    # Another account is connected since then, or the same one anew, and its clock is not known to be ahead.
    return min(last.ran_at or connection.created_at, there)


@dataclass(frozen=True, slots=True)
class Due:
    """A walk that is to be made now, and whether a person asked for a whole one."""

    connection: Connection
    full: bool


def request_walk_of(
    db: Session, *, connection_id: str, now: datetime, requested_by: str | None = None
) -> None:
    """Have the worker walk a connection's account as soon as it can, as `licenzy reconcile` does."""
    insert_unless_there(db, Reconciliation, {"connection_id": connection_id, "report": {}})
    db.exec(
        update(Reconciliation)
        .where(col(Reconciliation.connection_id) == connection_id)
        .values(requested_at=now, requested_by=requested_by, leased_until=None)
    )


def claim_due(db: Session, *, now: datetime) -> Due | None:
    """The walk that was asked for, or whose hour has come, under a lease; of any project, for the worker."""
    last = func.coalesce(col(Reconciliation.ran_at), Connection.created_at)
    is_requested = col(Reconciliation.requested_at).is_not(None)
    found = db.exec(
        select(Connection)
        .outerjoin(Reconciliation, col(Reconciliation.connection_id) == Connection.id)
        .where(
            col(Connection.key_sealed).is_not(None),
            is_worked_on(Connection.project_id),
            or_(is_requested, last <= now - EVERY),
            is_free(col(Reconciliation.leased_until), now),
        )
        .order_by(is_requested.desc(), last)
        .limit(1)
    ).first()
    if found is None:
        return None
    insert_unless_there(db, Reconciliation, {"connection_id": found.id, "report": {}})
    if not take_lease(db, Reconciliation, {"connection_id": found.id}, LEASE, now=now):
        return None  # Another worker was quicker.
    row = db.get(Reconciliation, found.id)
    return Due(found, bool(row and row.requested_at))


def _remember(
    db: Session,
    connection: Connection,
    newest: str | None,
    reached: datetime,
    report: Report,
    began: datetime,
) -> None:
    insert_unless_there(db, Reconciliation, {"connection_id": connection.id, "report": {}})
    row = db.exec(
        select(Reconciliation)
        .where(Reconciliation.connection_id == connection.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    row.leased_until = None
    row.last_event_id = newest or row.last_event_id
    row.reconciled_to, row.ran_at, row.report = reached, began, asdict(report)
    if row.requested_at is not None and row.requested_at <= began:
        row.requested_at = None
    db.flush()
