"""Walk an account at Stripe: missed events, then the state of what is known, and heal what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_
from sqlmodel import Session, col, select, update

from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.connections.pacing import paced_access
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import insert_unless_there
from licenzy.entitlements.announcing import Change
from licenzy.entitlements.queries import purchase_of
from licenzy.kit.clock import Clock, rfc3339
from licenzy.kit.seal import Seal
from licenzy.reconciliation.models import Reconciliation
from licenzy.stripe_events.actions import receive
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.reading import Found, record_snapshot, session_found, subscription_found
from licenzy.stripe_events.settling import claim_now, read_done
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.stripe_gateway.shapes import read_event

EVERY = timedelta(hours=1)
LEASE = timedelta(minutes=15)
"""After a walk that failed, or died, this long passes before the next try."""

EVENTS_KEPT = timedelta(days=30)
"""Stripe lists events of the last 30 days only."""

_OVERLAP = timedelta(minutes=10)
"""Walked again each time: an event may be listed a little after its `created`."""


@dataclass(slots=True)
class Report:
    """What one walk found and healed."""

    connection_id: str
    began_at: str
    events_seen: int = 0
    events_missed: int = 0
    subscriptions_seen: int = 0
    sessions_seen: int = 0
    failed: int = 0
    """Events that could not be applied; the worker goes on trying them."""
    differences: list[Change] = field(default_factory=list)
    """Every entitlement that changed, before and after."""

    @property
    def healed(self) -> int:
        return self.events_missed + len(self.differences)


def reconcile(
    database: Database,
    gateway: StripeGateway,
    seal: Seal,
    *,
    connection: Connection,
    clock: Clock,
    since: datetime | None = None,
    full: bool = True,
) -> Report:
    """Walk one connection's account; with `full` also its subscriptions and sessions, not only events.

    What was missed goes through the inbox like any other event. The cursor moves only when the walk came
    to its end. Raises Stripe's refusals; what was healed until then stays.
    """
    began = clock()
    at = paced_access(database, gateway, seal, connection)
    report = Report(connection.id, rfc3339(began))
    walk = _Walk(database, gateway, at, connection, clock, report)
    with database.read() as db:
        last = db.get(Reconciliation, connection.id)
    newest = walk.events(_start(last, since, began))
    if full:
        walk.subscriptions()
        walk.sessions()
    database.retrying(lambda db: _remember(db, connection, last, newest, report, began))
    return report


def claim_due(db: Session, *, now: datetime) -> Connection | None:
    """The connection whose hourly walk is due longest, of any project, under a lease; for the worker."""
    last = col(Reconciliation.ran_at)
    found = db.exec(
        select(Connection)
        .outerjoin(Reconciliation, col(Reconciliation.connection_id) == Connection.id)
        .where(
            col(Connection.key_sealed).is_not(None),
            func.coalesce(last, Connection.created_at) <= now - EVERY,
            or_(col(Reconciliation.leased_until).is_(None), col(Reconciliation.leased_until) <= now),
        )
        .order_by(func.coalesce(last, Connection.created_at))
        .limit(1)
    ).first()
    if found is None:
        return None
    insert_unless_there(db, Reconciliation, {"connection_id": found.id, "report": {}})
    taken = db.exec(
        update(Reconciliation)
        .where(
            col(Reconciliation.connection_id) == found.id,
            or_(col(Reconciliation.leased_until).is_(None), col(Reconciliation.leased_until) <= now),
        )
        .values(leased_until=now + LEASE)
    )
    return found if taken.rowcount == 1 else None


@dataclass(slots=True)
class _Walk:
    database: Database
    gateway: StripeGateway
    at: StripeAccess
    connection: Connection
    clock: Clock
    report: Report

    @property
    def now_at_stripe(self) -> datetime:
        """The account's own time, ahead of ours when it is a sandbox whose clock was moved."""
        return self.clock() + timedelta(seconds=self.connection.clock_offset_seconds)

    def events(self, start: datetime) -> str | None:
        """Feed the events since `start`, oldest first; the newest one's id."""
        newest: str | None = None
        start += timedelta(seconds=self.connection.clock_offset_seconds)
        for page in self.gateway.events(self.at, created_from=int(start.timestamp())):
            for raw in page:
                self.report.events_seen += 1
                self._feed(raw)
                newest = raw["id"]
        return newest

    def subscriptions(self) -> None:
        """Compare every known subscription with what Stripe says it is now."""
        as_of = self.now_at_stripe
        for page in self.gateway.subscriptions(self.at):
            for obj in page:
                self.report.subscriptions_seen += 1
                self._compare(subscription_found(obj), obj, as_of)

    def sessions(self) -> None:
        """Compare the sessions of attempts that may have ended unnoticed."""
        with self.database.read() as db:
            waiting = _unsettled_attempts(db, self.connection)
        if not waiting:
            return
        as_of = self.now_at_stripe
        oldest = min(attempt.created_at for attempt in waiting) - _OVERLAP
        ours = {name for each in waiting for name in (each.id, each.stripe_checkout_session_id)}
        for page in self.gateway.sessions(self.at, created_from=int(oldest.timestamp())):
            for obj in page:
                named = (obj.get("metadata") or {}).get("licenzy_attempt")
                if obj["id"] in ours or named in ours:
                    self.report.sessions_seen += 1
                    self._compare(session_found(obj), obj, as_of)

    def _feed(self, raw: Mapping[str, Any]) -> None:
        event = read_event(raw)
        # The library reads Stripe's decimal strings as Decimal; as text they are what Stripe sent.
        body = json.dumps(raw, ensure_ascii=False, separators=(",", ":"), default=str).encode()
        row = self.database.retrying(
            lambda db: receive(
                db, connection=self.connection, event=event, body=body, now=self.clock(), signed=False
            )
        )
        if row.duplicates == 0 and row.tries == 1:
            self.report.events_missed += 1
            self.report.differences += row.changes
        self.report.failed += row.status is EventStatus.FAILED

    def _compare(self, found: Found | None, obj: Mapping[str, Any], as_of: datetime) -> None:
        if found is not None:
            self.report.differences += self.database.retrying(lambda db: self._record(db, found, obj, as_of))

    def _record(self, db: Session, found: Found, obj: Mapping[str, Any], as_of: datetime) -> list[Change]:
        scope: dict[str, Any] = {"project_id": self.connection.project_id, "mode": self.connection.mode}
        ours = (obj.get("metadata") or {}).get("licenzy_attempt")
        known = purchase_of(db, key=found.purchase_key, **scope)
        if not ours and (known is None or known.subject_id is None):
            return []
        claim = claim_now(db, connection_id=self.connection.id, object_id=obj["id"], **scope)
        changes = record_snapshot(db, claim, found, as_of=as_of, now=self.clock())
        read_done(db, claim, now=self.clock())
        return changes


def _start(last: Reconciliation | None, since: datetime | None, began: datetime) -> datetime:
    oldest = began - EVENTS_KEPT
    if since is not None:
        return max(since, oldest)
    if last is None or last.reconciled_to is None:
        return oldest
    return max(last.reconciled_to - _OVERLAP, oldest)


def _unsettled_attempts(db: Session, connection: Connection) -> list[CheckoutAttempt]:
    return list(
        db.exec(
            select(CheckoutAttempt).where(
                CheckoutAttempt.connection_id == connection.id,
                CheckoutAttempt.project_id == connection.project_id,
                CheckoutAttempt.mode == connection.mode,
                col(CheckoutAttempt.status).in_(
                    [AttemptStatus.CREATED, AttemptStatus.OPEN, AttemptStatus.PROCESSING]
                ),
            )
        )
    )


def _remember(
    db: Session,
    connection: Connection,
    last: Reconciliation | None,
    newest: str | None,
    report: Report,
    began: datetime,
) -> None:
    row = db.get(Reconciliation, connection.id)
    if row is None:
        row = Reconciliation(connection_id=connection.id)
        db.add(row)
    row.leased_until = None
    row.last_event_id = newest or (last.last_event_id if last else None)
    row.reconciled_to, row.ran_at, row.report = began, began, asdict(report)
    db.flush()
