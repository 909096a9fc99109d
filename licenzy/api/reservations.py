"""`POST /v1/usage/reserve`, and what closes a reservation: `…/commit` and `…/release`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import orjson

from licenzy import errors
from licenzy.api.caller import Caller
from licenzy.api.exchange import Exchange, body_hash
from licenzy.api.reply import Reply
from licenzy.api.schemas import CommitBody, ReleaseBody, ReserveBody, validated
from licenzy.idempotency.actions import Outcome
from licenzy.kit.ids import has_shape
from licenzy.usage import actions
from licenzy.usage.actions import Wish
from licenzy.wire import refusal


def reserve(exchange: Exchange) -> Reply:
    """Set units of a subject aside for some seconds, all or none, once per Idempotency-Key."""
    caller = exchange.authenticate()
    sent = exchange.json(exchange.raw())
    body = validated(ReserveBody, sent)
    scope = exchange.scope("usage/reserve")

    def worded(error: errors.LicenzyError) -> str:
        return orjson.dumps(refusal(error, exchange.request_id, caller.mode.value)).decode()

    done = exchange.runtime.database.retrying(
        partial(
            actions.reserve,
            scope=scope,
            wish=Wish(**body.model_dump()),
            body_hash=body_hash(sent),
            worded=worded,
            called_at=exchange.runtime.clock(),
            now=caller.now,
        )
    )
    return exchange.answer_outcome(done.outcome, replayed=done.replayed)


def commit(exchange: Exchange, *, reservation_id: str) -> Reply:
    """Consume some or all of what was set aside; the rest goes back."""
    caller = exchange.authenticate()
    body = exchange.body(CommitBody)
    verb = partial(
        actions.commit,
        units=body.units,
        request_id=exchange.request_id,
        called_at=exchange.runtime.clock(),
    )
    return _closed(exchange, caller, reservation_id, verb)


def release(exchange: Exchange, *, reservation_id: str) -> Reply:
    """Give back all that was set aside. The body may be left out."""
    caller = exchange.authenticate()
    if exchange.environ.get("CONTENT_LENGTH") not in {None, "", "0"}:
        exchange.body(ReleaseBody)
    return _closed(exchange, caller, reservation_id, actions.release)


def _closed(exchange: Exchange, caller: Caller, reservation_id: str, verb: Callable[..., str]) -> Reply:
    if not has_shape(reservation_id, "rsv"):  # No text of another shape reaches the database.
        raise errors.ReservationNotFound
    text = exchange.runtime.database.retrying(
        partial(
            verb,
            project_id=caller.project_id,
            mode=caller.mode,
            reservation_id=reservation_id,
            now=caller.now,
        )
    )
    return exchange.answer_outcome(Outcome(200, text), replayed=False)
