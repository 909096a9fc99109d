"""`POST /v1/usage/…`: consume, and set aside to consume later."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import orjson

from licenzy import errors
from licenzy.alignment.modes import Mode
from licenzy.api.exchange import Desk, Exchange, body_hash
from licenzy.api.reply import Reply
from licenzy.api.schemas import ConsumeBody, validated
from licenzy.kit.clock import to_micros
from licenzy.usage.actions import return_lapsed
from licenzy.usage.consuming import Consumed, Consumer, Order
from licenzy.usage.on_postgres import PostgresConsumer
from licenzy.usage.on_sqlite import SqliteConsumer
from licenzy.usage.telling import consume
from licenzy.wire import refusal

_TRIES = 5
_MOST_KNOWN = 10_000


class Till:
    """Where units are consumed: the consumer of this database, and the keys that have been seen.

    What a key stands for never changes, so that it is read once per process; that it has not been revoked
    is looked at by the very statement that consumes.
    """

    def __init__(self, desk: Desk) -> None:
        database = desk.runtime.database
        self._consumer: Consumer = (
            SqliteConsumer(database.writer) if database.writer else PostgresConsumer(desk.connections)
        )
        self._known: dict[str, tuple[str, Mode]] = {}

    def consume(self, exchange: Exchange) -> Reply:
        """Take units from the subject's packs, all or none, once per Idempotency-Key."""
        key_hash = exchange.presented()
        mode = self._count(exchange, key_hash)
        try:
            order = _order(exchange, key_hash, mode)
        except errors.LicenzyError:
            self._look_at_key(exchange, key_hash)
            raise
        consumed = self._consumed(exchange, order)
        exchange.verify([consumed.key] if consumed.key else [])
        if consumed.reused:
            raise errors.IdempotencyKeyReused
        assert consumed.outcome is not None
        return exchange.answer_outcome(consumed.outcome, replayed=consumed.replayed)

    def _count(self, exchange: Exchange, key_hash: str) -> Mode:
        """The mode that the key stands for, once it is known to be within its rate."""
        known = self._known.get(key_hash)
        if known is not None:
            try:
                exchange.count(known[0])
            except errors.RateLimited:
                self._look_at_key(exchange, key_hash)
                raise
            return known[1]
        caller = exchange.authenticate()
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key_hash] = (caller.key_id, caller.mode)
        return caller.mode

    def _look_at_key(self, exchange: Exchange, key_hash: str) -> None:
        """What is wrong with the key is said before what is wrong with the body or the rate."""
        exchange.verify(exchange.desk.key_read.rows(key_hash=key_hash))

    def _consumed(self, exchange: Exchange, order: Order) -> Consumed:
        for _ in range(_TRIES):
            consumed = consume(self._consumer, exchange.runtime.database, order)
            if consumed.lapsed is None:
                return consumed
            # Units of reservations whose time is up stand in the way: they go back before it is decided.
            project_id, mode, subject_id = consumed.lapsed
            now = exchange.verify([consumed.key or ()]).now
            exchange.runtime.database.retrying(
                partial(return_lapsed, project_id=project_id, mode=Mode(mode), subject_id=subject_id, now=now)
            )
        raise errors.DatabaseUnavailable


def _order(exchange: Exchange, key_hash: str, mode: Mode) -> Order:
    sent = exchange.json(exchange.raw())
    body = validated(ConsumeBody, sent)
    consumed = {"ok": True, "consumed": body.units, "usage_remaining": 0}
    insufficient = errors.InsufficientUsage(extra={"usage_remaining": 0})
    return Order(
        key_hash=key_hash,
        subject_ref=body.subject_ref,
        units=body.units,
        idempotency_key=exchange.idempotency_key(),
        body_hash=body_hash(sent),
        request_id=exchange.request_id,
        now=to_micros(exchange.runtime.clock()),
        consumed=_up_to_the_number(consumed),
        refused=_up_to_the_number(refusal(insufficient, exchange.request_id, mode.value)),
    )


def _up_to_the_number(answer: Mapping[str, object]) -> str:
    """The answer's JSON without the number it ends in, which the database fills in."""
    return orjson.dumps(answer).decode().removesuffix("0}")
