"""Asking for a walk, and reading one customer's objects again at once."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from licenzy.connections.actions import access
from licenzy.connections.queries import connection_of
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.queries import bought_by
from licenzy.errors import StripeNotConnected
from licenzy.kit.clock import Clock, rfc3339
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.reconciliation.actions import request_walk_of
from licenzy.reconciliation.walk import Report, Walk
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.workspace.audit import Actor, record

MOST_PURCHASES = 20
"""Somebody waits for the answer: older purchases are looked at by the next walk."""


def resync(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    subject_id: str,
    actor: Actor,
    clock: Clock,
) -> Report:
    """Read a subject's newest purchases and their payments from Stripe now, and heal what differs.

    Raises StripeNotConnected and Stripe's refusals; what was repaired until then stays.
    """
    with database.read() as db:
        connection = connection_of(db, scope)
        keys, payments = bought_by(db, scope, subject_id=subject_id, most=MOST_PURCHASES)
    if connection is None:
        raise StripeNotConnected
    report = Report(connection.id, rfc3339(clock()))
    at = access(gateway, secret_box, connection)
    Walk(database, gateway, secret_box, at, connection, clock, report).purchases(keys, payments)
    after = {"read": report.subscriptions_seen + report.sessions_seen, "changes": report.differences_found}
    database.retrying(
        lambda db: record(
            db,
            actor=actor,
            action="subject.resync",
            about=subject_id,
            after=after,
            now=clock(),
            project_id=scope.project_id,
            mode=scope.mode,
        )
    )
    return report


def request_walk(db: Session, scope: Scope, *, actor: Actor, now: datetime) -> None:
    """Have the worker walk this side's account as soon as it can. Raises StripeNotConnected."""
    connection = connection_of(db, scope)
    if connection is None or connection.key_sealed is None:
        raise StripeNotConnected
    request_walk_of(db, connection_id=connection.id, now=now, requested_by=actor.user_id)
    record(
        db,
        actor=actor,
        action="reconciliation.ask",
        about=connection.id,
        now=now,
        project_id=scope.project_id,
        mode=scope.mode,
    )
