"""What Stripe sent of a customer, and what merchants' backends called on their behalf."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select, tuple_, update
from sqlmodel import Session

from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.upsert import table_of
from licenzy.forgetting.work import Work, batch_of, here
from licenzy.idempotency.models import IdempotencyKey
from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.stripe_events.erased import Named, named_in, object_kept, owners_of
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_events.receive import OF_ERASED
from licenzy.subjects.erased import erased_among, erased_name, is_erased_name

_EVENTS_AT_ONCE, _KEYS_AT_ONCE = 100, 500
_EVENTS, _KEYS, _ATTEMPTS = table_of(StripeEvent), table_of(IdempotencyKey), table_of(CheckoutAttempt)
_NOT_DONE = frozenset({EventStatus.RECEIVED, EventStatus.FAILED, EventStatus.INVALID})


def blank_events(db: Session, work: Work, after: str) -> str | None:
    """The payloads of the inbox. Each event of the side is read: any may name the customer."""
    columns = (_EVENTS.c.object_id, _EVENTS.c.payload, _EVENTS.c.status, _EVENTS.c.note)
    batch = batch_of(db, work, StripeEvent, *columns, after=after, most=_EVENTS_AT_ONCE)
    read = [(row, _named(work, row.payload)) for row in batch.rows if row.payload]
    owners = owners_of(db, work.scope, [named for _row, named in read])
    erased = erased_among(db, work.scope, subject_ids=set[str]().union(*owners))
    for (row, named), of in zip(read, owners, strict=True):
        names_them = bool(named.addresses & set(work.names.addresses)) and not of
        if (work.subject_id in of and of <= erased) or names_them:
            _blank_event(db, work, row)
    return batch.last_key


def _named(work: Work, payload: str) -> Named:
    try:
        named = named_in(parse_object(payload.encode()))
    except NotStrictJson:
        named = Named()
    if work.pattern.search(payload):
        # A name within a longer text: in an address of a page, or in metadata of the merchant's own.
        named.refs.add(work.names.ref)
    return named


def _blank_event(db: Session, work: Work, row: Any) -> None:
    values: dict[str, Any] = {"payload": "", "object_id": object_kept(row.object_id)}
    if row.status in _NOT_DONE:
        values |= {"status": EventStatus.IGNORED, "note": OF_ERASED, "next_try_at": None, "parked_at": None}
    elif row.note:
        values |= {"note": work.pattern.sub("[erased]", row.note)}
    db.execute(update(_EVENTS).where(*here(work, _EVENTS), _EVENTS.c.id == row.id).values(values))


def blank_keys(db: Session, work: Work, after: str) -> str | None:
    """Idempotency keys of the customer's checkouts, and those whose text names the customer.

    In place of each stands a hash, so that a repeat is a new call, which is refused.
    """
    endpoint, _, key = after.partition("\n")
    statement = (
        select(_KEYS.c.endpoint, _KEYS.c.key, _KEYS.c.attempt_id)
        .where(*here(work, _KEYS), tuple_(_KEYS.c.endpoint, _KEYS.c.key) > (endpoint, key))
        .order_by(_KEYS.c.endpoint, _KEYS.c.key)
        .limit(_KEYS_AT_ONCE)
    )
    rows = db.execute(statement).all()
    attempts = [row.attempt_id for row in rows if row.attempt_id is not None]
    mine = select(_ATTEMPTS.c.id).where(
        *here(work, _ATTEMPTS), _ATTEMPTS.c.id.in_(attempts), _ATTEMPTS.c.subject_id == work.subject_id
    )
    theirs = set(db.execute(mine).scalars()) if attempts else set()
    named = [
        (row.endpoint, row.key)
        for row in rows
        if (row.attempt_id in theirs or work.pattern.search(row.key)) and not is_erased_name(row.key)
    ]
    if named:
        db.connection().execute(
            update(_KEYS)
            .where(*here(work, _KEYS), _KEYS.c.endpoint == bindparam("of"), _KEYS.c.key == bindparam("was"))
            .values(key=bindparam("hashed"), body_hash="", response_body=None),
            [
                {"of": endpoint, "was": key, "hashed": erased_name(db, work.scope, f"{endpoint} {key}")}
                for endpoint, key in named
            ],
        )
    return f"{rows[-1].endpoint}\n{rows[-1].key}" if len(rows) == _KEYS_AT_ONCE else None
