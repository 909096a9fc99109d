"""How several senders share the outbox: a claim leases a delivery and writes its try down beforehand."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Boolean, ColumnElement
from sqlmodel import Session, and_, bindparam, col, insert, or_, select, update
from sqlmodel.sql.expression import Select

from licenzy.db.leases import is_free
from licenzy.db.reads import read_all
from licenzy.deliveries import rules
from licenzy.deliveries.models import (
    FAILING,
    GONE,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    OutboundEvent,
    WebhookEndpoint,
)
from licenzy.kit.backoff import Random
from licenzy.kit.lease import Lease
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record

LEASE = Lease(timedelta(seconds=30))
"""How long a sender has a delivery to itself: three times what one try may take."""

_SUCCESS_IS_NOTED = timedelta(minutes=1)
_MAX_ERROR = 300


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """One try of one delivery, written down and ours to make."""

    scope: Scope
    delivery_id: str
    endpoint_id: str
    url: str
    event_id: str
    body: str
    number: int
    tries: int


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The outcome of a try."""

    claim: DeliveryClaim
    at: datetime
    milliseconds: int
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    retry_after: timedelta | None = None
    """How long the receiver wants to be left alone."""

    @property
    def sent(self) -> bool:
        return self.status is not None and rules.is_success(self.status)


def claim_due(db: Session, *, room: Mapping[str, int], now: datetime) -> list[DeliveryClaim]:
    """Lease what has been due longest, up to `room` for each endpoint. The caller commits, then sends.

    Another sender passes by what this one has locked. A lease runs out by itself when its holder dies.
    """
    claims: list[DeliveryClaim] = []
    for endpoint_id, most in room.items():
        claims.extend(
            DeliveryClaim(
                Scope.of(row), row.id, endpoint_id, url, row.event_id, body, row.attempts + 1, row.tries
            )
            for row, body, url in _due_at(db, endpoint_id=endpoint_id, most=most, now=now)
        )
    if not claims:
        return []
    until = LEASE.until(now)
    leased = [
        {
            "row_project": each.scope.project_id,
            "row_mode": each.scope.mode,
            "row_id": each.delivery_id,
            "try_number": each.number,
            "until": until,
        }
        for each in claims
    ]
    db.connection().execute(_LEASED, leased)
    begun = [
        {
            "project_id": each.scope.project_id,
            "mode": each.scope.mode,
            "delivery_id": each.delivery_id,
            "number": each.number,
            "began_at": now,
            "status": None,
        }
        for each in claims
    ]
    db.connection().execute(insert(DeliveryAttempt), begun)
    return claims


def record_outcomes(
    db: Session, outcomes: Sequence[DeliveryOutcome], *, now: datetime, random: Random = random.random
) -> None:
    """Record the outcomes of tries, when the failed ones are due again, and how their endpoints fare.

    A failure told late, when another sender has the delivery already, or somebody asked for it again or
    deleted its endpoint, moves nothing but its own try.
    """
    # Deliveries in the order of their ids, then endpoints, here and wherever several are written: nobody
    # waits for anybody in a circle.
    rows = [_row(outcome, random) for outcome in sorted(outcomes, key=lambda each: each.claim.delivery_id)]
    if rows:
        db.connection().execute(_FINISH_ATTEMPT, rows)
        db.connection().execute(_UPDATE_DELIVERY, rows)
    by_address: dict[tuple[str, str], list[DeliveryOutcome]] = {}
    for outcome in outcomes:
        by_address.setdefault((outcome.claim.endpoint_id, outcome.claim.url), []).append(outcome)
    for endpoint_id, url in sorted(by_address):
        _record_endpoint(db, endpoint_id, url, by_address[endpoint_id, url], now)


def change_deliveries(
    db: Session, scope: Scope, wanted: Iterable[ColumnElement[bool]], columns: Mapping[str, Any]
) -> int:
    """Change all deliveries of a side that are `wanted`; how many.

    They are locked first, in the order in which senders lock them, so that the two never wait for each other
    in a circle. In one statement with the change, Postgres would look for all of them anew for each one that
    a sender has changed in the meantime.
    """
    here = (col(Delivery.project_id) == scope.project_id, col(Delivery.mode) == scope.mode)
    locked = select(Delivery.id).where(*here, *wanted).order_by(Delivery.id).with_for_update()
    ids = list(db.exec(locked))
    for begin in range(0, len(ids), _AT_ONCE):
        these = col(Delivery.id).in_(ids[begin : begin + _AT_ONCE])
        db.exec(update(Delivery).where(*here, these).values(columns))
    return len(ids)


_AT_ONCE = 1000
"""Ids in one statement; SQLite takes 32,766 values."""


@read_all
def _due_at(*, endpoint_id: str, most: int, now: datetime) -> Select[Delivery, str, str]:
    return (
        select(Delivery, OutboundEvent.body, WebhookEndpoint.url)
        .join(OutboundEvent)
        .join(WebhookEndpoint, col(WebhookEndpoint.id) == Delivery.endpoint_id)
        .where(
            Delivery.endpoint_id == endpoint_id,
            col(Delivery.next_try_at) <= now,
            is_free(col(Delivery.leased_until), now),
        )
        .order_by(col(Delivery.next_try_at), col(Delivery.id))
        .limit(most)
        .with_for_update(skip_locked=True, of=Delivery)
    )


def _row(outcome: DeliveryOutcome, random: Random) -> dict[str, Any]:
    """An outcome as the statements below take it."""
    claim = outcome.claim
    due = None if outcome.sent else _next_try(outcome, random)
    failed = DeliveryStatus.FAILED if due is not None else DeliveryStatus.DEAD
    return {
        "row_project": claim.scope.project_id,
        "row_mode": claim.scope.mode,
        "row_id": claim.delivery_id,
        "try_number": claim.number,
        "took": outcome.milliseconds,
        "answered": outcome.status,
        "problem": outcome.error[:_MAX_ERROR] if outcome.error else None,
        "answer_text": outcome.answer,
        "is_sent": outcome.sent,
        "new_status": DeliveryStatus.SENT if outcome.sent else failed,
        "made": claim.tries + 1,
        "due": due,
        "at": outcome.at if outcome.sent else None,
    }


_THIS_DELIVERY = and_(
    col(Delivery.project_id) == bindparam("row_project"),
    col(Delivery.mode) == bindparam("row_mode"),
    col(Delivery.id) == bindparam("row_id"),
)
_THIS_TRY = and_(
    col(DeliveryAttempt.project_id) == bindparam("row_project"),
    col(DeliveryAttempt.mode) == bindparam("row_mode"),
    col(DeliveryAttempt.delivery_id) == bindparam("row_id"),
    col(DeliveryAttempt.number) == bindparam("try_number"),
)
_UNSENT = col(Delivery.status) != DeliveryStatus.SENT
_LEASED = (
    update(Delivery)
    .where(_THIS_DELIVERY)
    .values(attempts=bindparam("try_number"), leased_until=bindparam("until"))
)
_FINISH_ATTEMPT = (
    update(DeliveryAttempt)
    .where(_THIS_TRY)
    .values(
        milliseconds=bindparam("took"),
        status=bindparam("answered"),
        error=bindparam("problem"),
        answer=bindparam("answer_text"),
    )
)
_OUTCOME_COLUMNS: dict[str, Any] = {
    "status": bindparam("new_status"),
    "tries": bindparam("made"),
    "leased_until": None,
    "next_try_at": bindparam("due"),
    "last_status": bindparam("answered"),
    "last_error": bindparam("problem"),
    "sent_at": bindparam("at"),
}
_STILL_OURS = and_(col(Delivery.attempts) == bindparam("try_number"), col(Delivery.leased_until).is_not(None))
_UPDATE_DELIVERY = (
    update(Delivery)
    .where(_THIS_DELIVERY, _UNSENT, or_(bindparam("is_sent", type_=Boolean()), _STILL_OURS))
    .values(**_OUTCOME_COLUMNS)
)


def _next_try(outcome: DeliveryOutcome, random: Random) -> datetime | None:
    if outcome.status == rules.GONE:
        return None
    return rules.next_try(
        tries=outcome.claim.tries + 1, now=outcome.at, random=random, retry_after=outcome.retry_after
    )


def _record_endpoint(
    db: Session, endpoint_id: str, url: str, outcomes: Sequence[DeliveryOutcome], now: datetime
) -> None:
    """How an endpoint fares; one that has been led elsewhere meanwhile is not judged by its old address."""
    params = {"row_id": endpoint_id, "row_url": url, "at": now}
    if any(outcome.status == rules.GONE for outcome in outcomes):
        if db.exec(_DISABLED, params={**params, "reason": GONE}).rowcount:
            _note_disabled(db, outcomes[0].claim, GONE, now)
    elif any(outcome.sent for outcome in outcomes):
        db.exec(_SUCCEEDED, params={**params, "noted_until": now - _SUCCESS_IS_NOTED})
    else:
        db.exec(_FAILED, params=params)
        given_up = {"reason": FAILING, "failing_until": now - rules.DISABLED_AFTER}
        if db.exec(_GIVEN_UP, params={**params, **given_up}).rowcount:
            _note_disabled(db, outcomes[0].claim, FAILING, now)


def _note_disabled(db: Session, claim: DeliveryClaim, reason: str, now: datetime) -> None:
    """Nobody asked for it, and somebody must see to it."""
    record(
        db,
        actor=Actor(),
        action="webhook_endpoint.disabled",
        about=claim.endpoint_id,
        after={"by": "licenzy", "reason": reason},
        now=now,
        project_id=claim.scope.project_id,
        mode=claim.scope.mode,
    )


_UPDATE_ENDPOINT_HEALTH = (
    update(WebhookEndpoint)
    .where(col(WebhookEndpoint.id) == bindparam("row_id"), col(WebhookEndpoint.url) == bindparam("row_url"))
    .execution_options(synchronize_session=False)
)
# Not at every success: all senders would wait for the one row.
_SUCCEEDED = _UPDATE_ENDPOINT_HEALTH.where(
    or_(
        col(WebhookEndpoint.failing_since).is_not(None),
        col(WebhookEndpoint.last_success_at).is_(None),
        col(WebhookEndpoint.last_success_at) < bindparam("noted_until"),
    )
).values(failing_since=None, last_success_at=bindparam("at"))
_FAILED = _UPDATE_ENDPOINT_HEALTH.where(col(WebhookEndpoint.failing_since).is_(None)).values(
    failing_since=bindparam("at")
)
_DISABLED = _UPDATE_ENDPOINT_HEALTH.where(col(WebhookEndpoint.disabled_at).is_(None)).values(
    disabled_at=bindparam("at"), disabled_reason=bindparam("reason")
)
_GIVEN_UP = _DISABLED.where(col(WebhookEndpoint.failing_since) <= bindparam("failing_until"))
