"""Receive an event, and apply it: one transaction, acknowledged only after its commit."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.connections.actions import follow_clock, note_signed_event
from licenzy.connections.models import Provider
from licenzy.connections.queries import account_of
from licenzy.connections.rules import CLOCK_MOVED
from licenzy.db.engine import gave_way
from licenzy.db.savepoint import savepoint
from licenzy.db.upsert import change_row, insert_unless_there
from licenzy.entitlements.events import Change
from licenzy.entitlements.models import FactSource
from licenzy.errors import CustomerErased, DatabaseUnavailable, InvalidEvent
from licenzy.kit.backoff import Backoff, Random
from licenzy.kit.ids import new_id
from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.projects.scope import Scope
from licenzy.stripe_events.erased import is_of_erased, object_kept
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_events.paid_late import note_purchase_of_erased
from licenzy.stripe_events.pipeline import Applied, apply_event
from licenzy.stripe_events.queries import KeptEvent, count_repeat, due_event
from licenzy.stripe_events.read import Origin
from licenzy.stripe_gateway.shapes import Event, NotAnEvent, ThinEvent, read_event
from licenzy.workspace.audit import Actor, record

MAX_TRIES = 8
_BACKOFF = Backoff(first=20.0, longest=3600.0, jitter=(0.9, 1.1))
"""Eight tries within about an hour."""
# Writing the connection's row for every event would make all events of an account wait for each other.
_PROOF_IS_FRESH = timedelta(seconds=15)
_STILL_TO_APPLY = frozenset({EventStatus.RECEIVED, EventStatus.FAILED})


class Receiver(Protocol):
    """What receiving needs to know of a connection."""

    @property
    def id(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def provider(self) -> Provider: ...
    @property
    def proven_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event of the inbox after it was received or tried."""

    status: EventStatus
    tries: int
    duplicates: int = 0
    note: str | None = None
    changes: list[Change] = field(default_factory=list)
    """What applying it changed, this time."""


def read_payload(body: bytes) -> Event:
    """The event in a signed body. Raises InvalidEvent."""
    try:
        return read_event(parse_object(body))
    except (NotStrictJson, NotAnEvent):
        raise InvalidEvent from None


def receive(
    db: Session,
    *,
    connection: Receiver,
    event: Event,
    body: bytes,
    now: datetime,
    signed: bool = True,
    has_erased: bool = True,
    random: Random = random.random,
) -> ReceivedEvent:
    """Keep an event and apply it; the caller commits, then acknowledges.

    Without customers who were erased (`has_erased`) nobody is looked for among them. The event
    was `signed` by Stripe, or else read from Stripe's list of events by reconciliation.
    An event that cannot be applied is kept as `failed` and tried again by the worker. A repeat of one
    that is applied, ignored, or of another mode or account changes nothing but its count.
    """
    kept = keep(db, connection, event, body, now, fetched=not signed, has_erased=has_erased)
    is_fresh = kept is not None
    if kept is None:
        kept = count_repeat(db, Scope.of(connection), event_id=event.id)
    stale = connection.proven_at is None or now - connection.proven_at > _PROOF_IS_FRESH
    if signed and stale and kept.status is not EventStatus.WRONG_ACCOUNT:
        note_signed_event(db, connection_id=connection.id, event_id=event.id, now=now)
    is_ours = kept.status is EventStatus.RECEIVED
    if is_fresh and is_ours and connection.provider is Provider.SANDBOX:
        there = int(event.created.timestamp())
        moved = event.type == CLOCK_MOVED
        follow_clock(db, connection_id=connection.id, now_there=there, moved=moved, now=now)
    if kept.status in _STILL_TO_APPLY:
        return apply_kept(db, kept, event=event, now=now, random=random)
    return ReceivedEvent(kept.status, kept.tries, kept.duplicates, kept.note, kept.changes)


def keep(
    db: Session,
    connection: Receiver,
    event: Event,
    body: bytes,
    now: datetime,
    *,
    fetched: bool = False,
    has_erased: bool = True,
) -> KeptEvent | None:
    """Keep an event in the inbox; None when it is there already."""
    misdirected = _misdirected(db, connection, event)
    is_kept_blank = (
        has_erased and misdirected is None and is_of_erased(db, Scope.of(connection), event.object)
    )
    if is_kept_blank:
        misdirected = EventStatus.IGNORED, OF_ERASED
    status, note = misdirected or (EventStatus.RECEIVED, None)
    row = {
        **_row(connection, "" if is_kept_blank else body.decode(), now),
        "event_id": event.id,
        "type": event.type,
        "api_version": event.api_version,
        "object_id": object_kept(event.object_id) if is_kept_blank else event.object_id,
        "created": event.created,
        "status": status,
        "note": note,
        "fetched": fetched,
        "next_try_at": None if misdirected else now + timedelta(seconds=_BACKOFF.first),
    }
    if not insert_unless_there(db, StripeEvent, row):
        return None
    if is_kept_blank:
        note_purchase_of_erased(db, Scope.of(connection), event.object, now=now)
    return KeptEvent(**{name: row[name] for name in KeptEvent._fields})


OF_ERASED = "The customer was erased. The event was ignored, and its payload was not stored."
"""The note on an event about a customer who was erased."""


def _misdirected(db: Session, connection: Receiver, event: Event) -> tuple[EventStatus, str] | None:
    """Why an event is not for this connection, so that it is never applied; None when it is."""
    if event.livemode is not connection.mode.livemode:
        return EventStatus.WRONG_MODE, "It is from the other mode."
    return _of_other_account(db, connection.id, event)


def _of_other_account(db: Session, connection_id: str, event: Event) -> tuple[EventStatus, str] | None:
    """Stripe names an account only for what happened in a connected account of the endpoint's own."""
    if event.account is None or event.account == account_of(db, connection_id=connection_id):
        return None
    return EventStatus.WRONG_ACCOUNT, f"{OF_ACCOUNT}{event.account}."


OF_ACCOUNT = "It is from the Stripe account "
"""How the note on an event of another account begins; the account's id and a full stop follow."""


def keep_invalid(
    db: Session, *, connection: Receiver, body: bytes, now: datetime, problem: Exception | None = None
) -> None:
    """Keep a rightly signed body that is no event, and `problem`, why it is none, for an operator."""
    row = {
        **_row(connection, body.decode("utf-8", "replace").replace("\x00", "\ufffd"), now),
        "event_id": f"invalid:{hashlib.sha256(body).hexdigest()}",
        "type": "invalid",
        "created": now,
        "status": EventStatus.INVALID,
        "note": THIN if isinstance(problem, ThinEvent) else _NO_EVENT,
    }
    insert_unless_there(db, StripeEvent, row)


THIN = "This is a thin event. Licenzy needs snapshot events."
"""The note on an event that names an object of Stripe's without saying anything about it."""

_NO_EVENT = "The signature is valid, but the body is not an event of the v1 API."


def apply_kept(
    db: Session,
    kept: KeptEvent,
    *,
    event: Event | None = None,
    now: datetime,
    random: Random = random.random,
) -> ReceivedEvent:
    """Apply an event of the inbox inside a savepoint; a failure leaves it `failed` and due again."""
    tries = kept.tries + 1
    try:
        with savepoint(db):
            applied = _apply(db, kept, event, now)
    except CustomerErased:
        # The customer was erased after this event had been received, or while it was.
        blank = ReceivedEvent(EventStatus.IGNORED, tries, kept.duplicates, OF_ERASED)
        _write(db, kept, blank, payload="", applied_at=now, next_try_at=None, parked_at=None)
        told = event if event is not None else read_payload(kept.payload.encode())
        note_purchase_of_erased(db, Scope.of(kept), told.object, now=now)
        return blank
    except Exception as error:
        if isinstance(error, DatabaseUnavailable) or gave_way(error) or _is_lost(error):
            raise  # It is no fault of the event's: the whole transaction is done anew, or refused.
        # Whatever it is, the event is safe with us: it is kept with its error and tried again.
        failed = ReceivedEvent(
            EventStatus.FAILED, tries, kept.duplicates, _plain(f"{type(error).__name__}: {error}")
        )
        if tries >= MAX_TRIES:
            _write(db, kept, failed, parked_at=now, next_try_at=None)
            if tries == MAX_TRIES:  # A replay of one that was parked before is recorded as such.
                _record_parked(db, kept, now)
        else:
            _write(db, kept, failed, next_try_at=now + _BACKOFF.delay(tries, random))
        return replace(failed, changes=kept.changes)
    note = _plain(applied.note) if applied.note is not None else None
    done = ReceivedEvent(applied.status, tries, kept.duplicates, note, applied.changes)
    _write(db, kept, done, changes=done.changes, applied_at=now, next_try_at=None, parked_at=None)
    return done


def _record_parked(db: Session, kept: KeptEvent, now: datetime) -> None:
    """Nobody asked for it, and somebody must see to it."""
    record(
        db,
        actor=Actor(),
        action="event.parked",
        about=kept.event_id,
        after={"tries": MAX_TRIES},
        now=now,
        project_id=kept.project_id,
        mode=kept.mode,
    )


def _apply(db: Session, kept: KeptEvent, event: Event | None, now: datetime) -> Applied:
    if event is not None:
        return apply_event(db, _origin(kept), event, now=now)
    # It may have been stored by a version that did not look at its account.
    stored = read_payload(kept.payload.encode())
    misdirected = _of_other_account(db, kept.connection_id, stored)
    return Applied(*misdirected) if misdirected else apply_event(db, _origin(kept), stored, now=now)


def apply_due_event(db: Session, *, now: datetime, random: Random = random.random) -> ReceivedEvent | None:
    """Try the event that has waited longest for its turn; None when none is due. For the worker."""
    due = due_event(db, now=now)
    return apply_kept(db, due, now=now, random=random) if due is not None else None


def _row(connection: Receiver, payload: str, now: datetime) -> dict[str, Any]:
    """The columns that every event of the inbox begins with."""
    return {
        "project_id": connection.project_id,
        "id": new_id("rcv"),
        "connection_id": connection.id,
        "mode": connection.mode,
        "payload": payload,
        "changes": [],
        "tries": 0,
        "duplicates": 0,
        "received_at": now,
    }


def _write(db: Session, kept: KeptEvent, outcome: ReceivedEvent, **columns: Any) -> None:
    columns_kept: Mapping[str, Any] = {"status": outcome.status, "tries": outcome.tries, "note": outcome.note}
    change_row(db, StripeEvent, kept.primary_key, {**columns_kept, **columns})


def _plain(note: str) -> str:
    """What any database keeps of a sentence that may quote a payload."""
    return note.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:500]


def _is_lost(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _origin(kept: KeptEvent) -> Origin:
    return Origin(
        Scope.of(kept),
        connection_id=kept.connection_id,
        source=FactSource.EVENT,
        source_id=kept.event_id,
        occurred_at=kept.created,
    )
