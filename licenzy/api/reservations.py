"""`POST /v1/usage/reserve`, and what closes a reservation: `…/commit` and `…/release`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import orjson

from licenzy import errors
from licenzy.alignment.modes import Mode
from licenzy.api.caller import Caller
from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest, body_hash
from licenzy.api.schemas import CommitBody, ReleaseBody, ReserveBody, validated
from licenzy.api.usage import insufficient, naming
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import rfc3339
from licenzy.kit.ids import has_shape
from licenzy.usage import actions
from licenzy.usage.actions import ReserveRequest
from licenzy.usage.results import Committed, Refused, Released, Reserved
from licenzy.usage.window_opening import with_open_windows

_CREATED = 201


def reserve(request: ApiRequest) -> Reply:
    """Set units of a subject aside for some seconds, all or none, once per Idempotency-Key."""
    caller = request.authenticate()
    sent = request.json(request.incoming.body)
    body = validated(ReserveBody, sent)
    work = partial(
        actions.reserve,
        key=request.idempotency("usage/reserve"),
        wish=ReserveRequest(**body.model_dump()),
        body_hash=body_hash(sent),
        render=partial(_reserved, request.request_id, body.unit, caller.mode),
        called_at=request.runtime.clock(),
        now=caller.now,
    )
    done = with_open_windows(
        request.runtime.database,
        caller.scope,
        work,
        subject_ref=body.subject_ref,
        now=caller.now,
        clock=request.runtime.clock,
    )
    return request.answer_outcome(done.outcome, replayed=done.replayed)


def commit(request: ApiRequest, *, reservation_id: str) -> Reply:
    """Consume some or all of what was set aside; the rest goes back."""
    caller = request.authenticate()
    body = request.body(CommitBody)
    verb = partial(
        actions.commit,
        units=body.units,
        request_id=request.request_id,
        render=_committed,
        called_at=request.runtime.clock(),
    )
    return _closed(request, caller, reservation_id, verb)


def release(request: ApiRequest, *, reservation_id: str) -> Reply:
    """Give back all that was set aside. The body may be left out."""
    caller = request.authenticate()
    if request.incoming.header("content-length") not in {None, "", "0"}:
        request.body(ReleaseBody)
    return _closed(request, caller, reservation_id, partial(actions.release, render=_released))


def _closed(request: ApiRequest, caller: Caller, reservation_id: str, verb: Callable[..., str]) -> Reply:
    if not has_shape(reservation_id, "rsv"):  # No text of another shape reaches the database.
        raise errors.ReservationNotFound
    text = request.runtime.database.retrying(
        lambda db: verb(db, caller.scope, reservation_id=reservation_id, now=caller.now)
    )
    return request.answer_outcome(Outcome(200, text), replayed=False)


def _reserved(request_id: str, unit: str | None, mode: Mode, decided: Reserved | Refused) -> Outcome:
    if isinstance(decided, Refused):
        return insufficient(request_id, unit, decided, mode)
    answer_body = {
        "reservation_id": decided.reservation_id,
        "reserved": decided.units,
        "usage_remaining": decided.remaining,
        "expires_at": rfc3339(decided.expires_at),
    }
    return Outcome(_CREATED, _json(answer_body | naming(unit)))


def _committed(done: Committed) -> str:
    answer_body = {
        "ok": True,
        "consumed": done.units,
        "released": done.released,
        "usage_remaining": done.remaining,
    }
    return _json(answer_body)


def _released(done: Released) -> str:
    return _json({"ok": True, "released": done.units, "usage_remaining": done.remaining})


def _json(answer_body: Mapping[str, object]) -> str:
    return orjson.dumps(answer_body).decode()
