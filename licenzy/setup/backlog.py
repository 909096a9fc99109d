"""How the whole installation fares: what waits, what was given up, and what does not fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from licenzy.alignment.findings import Severity
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.connections.models import Connection
from licenzy.deliveries.models import Delivery, DeliveryStatus, WebhookEndpoint
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.models import StripeProbe
from licenzy.projects.queries import project_ids
from licenzy.reconciliation.models import Reconciliation
from licenzy.setup.fact_collector import project_facts
from licenzy.stripe_events.models import EventStatus, SettlingRead, StripeEvent

_UNSENT = (DeliveryStatus.PENDING, DeliveryStatus.FAILED, DeliveryStatus.DEAD)
_IS_UNSENT = col(Delivery.status).in_(_UNSENT)
_IS_UNAPPLIED = col(StripeEvent.status).in_([EventStatus.RECEIVED, EventStatus.FAILED])


@dataclass(frozen=True, slots=True)
class Backlog:
    """Numbers of all projects together, zeros included, but findings by project."""

    events: Mapping[EventStatus, int]
    parked: int
    """Events that were given up."""
    deliveries: Mapping[DeliveryStatus, int]
    """Those that were not sent."""
    settling_due: int
    overdue_seconds: Mapping[str, float]
    """How long the oldest job of each kind has been due; 0 where none is."""
    findings: Mapping[tuple[str, Mode, Severity], int]
    """By project id, mode and severity."""


def backlog(db: Session, secret_box: SecretBox, *, base_url: str, now: datetime) -> Backlog:
    """Everything at `now`, of every project, for whoever watches the installation."""
    settling = select(func.count()).select_from(SettlingRead).where(col(SettlingRead.due_at) <= now)
    parked = (
        select(func.count())
        .select_from(StripeEvent)
        .where(_IS_UNAPPLIED, col(StripeEvent.parked_at).is_not(None))
    )
    return Backlog(
        events=_by_status(db, StripeEvent.status, EventStatus),
        parked=db.exec(parked).one(),
        deliveries=_by_status(db, Delivery.status, _UNSENT, _IS_UNSENT),
        settling_due=db.exec(settling).one(),
        overdue_seconds=_overdue(db, now),
        findings=_findings(db, secret_box, base_url, now),
    )


def _by_status(db: Session, column: Any, statuses: Any, *narrowed: Any) -> dict[Any, int]:
    counted = dict(db.exec(select(column, func.count()).where(*narrowed).group_by(column)).all())
    return {status: counted.get(status, 0) for status in statuses}


def _overdue(db: Session, now: datetime) -> dict[str, float]:
    """What a paused endpoint or a removed Stripe key holds back is not due."""
    probes = (
        select(func.min(StripeProbe.due_at))
        .join(Connection, col(Connection.id) == StripeProbe.connection_id)
        .where(col(Connection.key_sealed).is_not(None))
    )
    sends = (
        select(func.min(Delivery.next_try_at))
        .join(WebhookEndpoint, col(WebhookEndpoint.id) == Delivery.endpoint_id)
        .where(
            _IS_UNSENT,
            col(WebhookEndpoint.paused_at).is_(None),
            col(WebhookEndpoint.disabled_at).is_(None),
            col(WebhookEndpoint.deleted_at).is_(None),
        )
    )
    oldest: dict[str, Any] = {
        "apply_event": select(func.min(StripeEvent.next_try_at)).where(_IS_UNAPPLIED),
        "settling_read": select(func.min(SettlingRead.due_at)),
        "delivery": sends,
        "reconciliation": select(func.min(Reconciliation.requested_at)),
        "look_at_stripe": probes,
    }
    due = {job: db.exec(statement).one() for job, statement in oldest.items()}
    return {job: max(0.0, (now - at).total_seconds()) if at else 0.0 for job, at in due.items()}


def _findings(
    db: Session, secret_box: SecretBox, base_url: str, now: datetime
) -> dict[tuple[str, Mode, Severity], int]:
    counted: dict[tuple[str, Mode, Severity], int] = {}
    for project_id in project_ids(db):
        facts = project_facts(db, secret_box, project_id=project_id, base_url=base_url, now=now)
        for mode in Mode:
            found = Counter(finding.severity for finding in findings(facts, mode))
            counted |= {(project_id, mode, severity): found[severity] for severity in Severity}
    return counted
