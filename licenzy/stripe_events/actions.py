"""Receive an event, and apply it: one transaction, acknowledged only after its commit."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta

from sqlmodel import Session

from licenzy.connections.actions import follow_clock, note_signed_event
from licenzy.connections.models import Connection
from licenzy.connections.rules import CLOCK_MOVED
from licenzy.db.engine import gave_way
from licenzy.db.upsert import add_unless_there
from licenzy.entitlements.models import FactSource
from licenzy.errors import InvalidEvent
from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.stripe_events.apply import Origin, apply_event
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_events.queries import due_event, lock_event
from licenzy.stripe_gateway.shapes import Event, NotAnEvent, read_event

MAX_TRIES = 8
_FIRST_RETRY = timedelta(seconds=20)
# Writing the connection's row for every event would make all events of an account wait for each other.
_PROOF_IS_FRESH = timedelta(seconds=15)


def read_payload(body: bytes) -> Event:
    """The event in a signed body. Raises InvalidEvent."""
    try:
        return read_event(parse_object(body))
    except (NotStrictJson, NotAnEvent):
        raise InvalidEvent from None


def receive(
    db: Session,
    *,
    connection: Connection,
    event: Event,
    body: bytes,
    now: datetime,
    signed: bool = True,
) -> StripeEvent:
    """Keep an event and apply it; the caller commits, then acknowledges.

    It was `signed` by Stripe, or else read from Stripe's list of events by reconciliation.
    An event that cannot be applied is kept as `failed` and tried again by the worker. A repeat of one
    that is applied, ignored or of the wrong mode changes nothing but its count.
    """
    row = _row(connection, event, body, now)
    fresh = add_unless_there(db, row)
    if not fresh:
        row = lock_event(db, connection_id=connection.id, event_id=event.id)
        row.duplicates += 1
    stale = connection.proven_at is None or now - connection.proven_at > _PROOF_IS_FRESH
    if signed and stale:
        note_signed_event(db, connection_id=connection.id, event_id=event.id, now=now)
    if fresh and event.type == CLOCK_MOVED and isinstance(event.object.get("frozen_time"), int):
        follow_clock(db, connection_id=connection.id, now_there=event.object["frozen_time"], now=now)
    if row.status in {EventStatus.RECEIVED, EventStatus.FAILED}:
        apply_stored(db, row, event=event, now=now)
    db.flush()
    return row


def keep_invalid(db: Session, *, connection: Connection, body: bytes, now: datetime) -> None:
    """Keep a rightly signed body that is no event, for an operator to look at."""
    row = StripeEvent(
        connection_id=connection.id,
        event_id=f"invalid:{hashlib.sha256(body).hexdigest()}",
        project_id=connection.project_id,
        mode=connection.mode,
        type="invalid",
        created=now,
        payload=body.decode("utf-8", "replace").replace("\x00", "\ufffd"),
        status=EventStatus.INVALID,
        note="The signature is right, but the body is not an event of the v1 API.",
        received_at=now,
    )
    add_unless_there(db, row)


def apply_stored(db: Session, row: StripeEvent, *, event: Event | None = None, now: datetime) -> None:
    """Apply an event of the inbox inside a savepoint; a failure leaves it `failed` and due again."""
    tries = row.tries + 1
    try:
        with db.begin_nested():
            event = event or read_payload(row.payload.encode())
            applied = apply_event(db, _origin(row, event), event, now=now)
    except Exception as error:
        if gave_way(error):
            raise  # It is no fault of the event's: the whole transaction is done anew.
        # Whatever it is, the event is safe with us: it is kept with its error and tried again.
        row.status, row.tries = EventStatus.FAILED, tries
        row.note = _plain(f"{type(error).__name__}: {error}")
        if tries >= MAX_TRIES:
            row.parked_at, row.next_try_at = now, None
        else:
            row.next_try_at = now + _backoff(tries)
        return
    row.status, row.tries, row.changes = applied.status, tries, applied.changes
    row.note = _plain(applied.note) if applied.note is not None else None
    row.applied_at, row.next_try_at, row.parked_at = now, None, None


def apply_due_event(db: Session, *, now: datetime) -> StripeEvent | None:
    """Try the event that has waited longest for its turn; None when none is due. For the worker."""
    row = due_event(db, now=now)
    if row is not None:
        apply_stored(db, row, now=now)
        db.flush()
    return row


def _plain(note: str) -> str:
    """What any database keeps of a sentence that may quote a payload."""
    return note.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:500]


def _origin(row: StripeEvent, event: Event) -> Origin:
    return Origin(
        project_id=row.project_id,
        mode=row.mode,
        connection_id=row.connection_id,
        source=FactSource.EVENT,
        source_id=row.event_id,
        occurred_at=event.created,
    )


def _row(connection: Connection, event: Event, body: bytes, now: datetime) -> StripeEvent:
    wrong_mode = event.livemode is not connection.mode.livemode
    return StripeEvent(
        connection_id=connection.id,
        event_id=event.id,
        project_id=connection.project_id,
        mode=connection.mode,
        type=event.type,
        api_version=event.api_version,
        object_id=event.object_id,
        created=event.created,
        payload=body.decode(),
        status=EventStatus.WRONG_MODE if wrong_mode else EventStatus.RECEIVED,
        note="It belongs to the other mode." if wrong_mode else None,
        next_try_at=None if wrong_mode else now + _FIRST_RETRY,
        received_at=now,
    )


def _backoff(tries: int) -> timedelta:
    """20 s, then doubling with jitter: eight tries within about an hour."""
    return _FIRST_RETRY * (2.0 ** (tries - 1) * random.uniform(0.9, 1.1))
