"""`POST /v1/usage/consume`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import orjson

from licenzy import errors
from licenzy.alignment.modes import Mode
from licenzy.api.caller import Caller
from licenzy.api.incoming import Arrived
from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest, ApiState, body_hash
from licenzy.api.routes import CallRoute
from licenzy.api.schemas import ConsumeBody, validated
from licenzy.hotpath.consume import (
    Answered,
    ConsumeRequest,
    ConsumeResult,
    ExpiredReservations,
    FirstWithoutUnit,
    KeyRefused,
    KeyReused,
    NeedsEvents,
    UnknownNames,
    UnopenedWindows,
)
from licenzy.hotpath.consumer import make_committer
from licenzy.hotpath.snapshot import SnapshotReader
from licenzy.hotpath.with_events import consume_with_events
from licenzy.idempotency.outcome import Outcome
from licenzy.kit import deadline
from licenzy.kit.clock import to_micros
from licenzy.projects.actions import fix_default_unit
from licenzy.usage.actions import return_expired_reservations
from licenzy.usage.results import Consumed, Refused
from licenzy.usage.units import require_known_names
from licenzy.usage.windows import open_windows
from licenzy.wsgi_json import refusal

_TRIES = 5
_MOST_KNOWN = 10_000
_FOR_A_THREAD = (NeedsEvents, ExpiredReservations, UnopenedWindows, FirstWithoutUnit, UnknownNames)
"""What takes more than one commit."""


class ConsumeEndpoint:
    """Where units are consumed: the committer of this process, and the keys that have been seen.

    What a key stands for never changes, so that it is read once per process, to count its calls by; that it
    lives and may consume is looked at by the very statement that consumes.
    """

    def __init__(self, state: ApiState) -> None:
        runtime = state.runtime
        self._state, self._database = state, runtime.database
        self._committer = make_committer(runtime.database, prepares=runtime.settings.prepared_statements)
        self._known: dict[str, str] = {}

    def consume(self, request: ApiRequest) -> Reply:
        """Take units from the subject's packs, all or none, once per Idempotency-Key."""
        key_hash = request.presented()
        key_id = self._known.get(key_hash) or self._remember(key_hash, request.identify_key(key_hash))
        try:
            request.count(key_id)
            parsed = _parsed(request, key_hash)
        except errors.LicenzyError:
            # What is wrong with the key is said before what is wrong with the rate or the body.
            request.identify_key(key_hash)
            raise
        for _ in range(_TRIES):
            result = self._committer.run(parsed, ends_at=deadline.ends_at())
            if isinstance(result, NeedsEvents):
                result = consume_with_events(self._database, parsed)
            if isinstance(result, ExpiredReservations):
                self._return_expired(request, result)
            elif isinstance(result, UnopenedWindows):
                self._open_windows(request, result, parsed.subject_ref)
            elif isinstance(result, FirstWithoutUnit):
                self._fix_default_unit(request, result)
            elif isinstance(result, UnknownNames):
                parsed = self._with_known_names(request, result, parsed)
            else:
                return _answer(request, result)
        raise errors.DatabaseUnavailable

    async def consume_on_loop(
        self, reader: SnapshotReader, incoming: Arrived, route: CallRoute
    ) -> Reply | None:
        """The same through one commit; none when it takes more than that, and a thread answers.

        Nothing is counted then, nor consumed.
        """
        request = ApiRequest(self._state, incoming, route)
        try:
            return await self._consume_on_loop(request, reader, incoming)
        except errors.LicenzyError as error:
            return request.refuse(error)
        except Exception:
            return request.refuse_unexpected()

    async def _consume_on_loop(
        self, request: ApiRequest, reader: SnapshotReader, incoming: Arrived
    ) -> Reply | None:
        key_hash, ends_at = request.presented(), incoming.arrived + deadline.CALL_SECONDS
        key_id = self._known.get(key_hash)
        if key_id is None:
            snapshot = await reader.read(key_hash, "", ends_at=ends_at)
            if snapshot is None:
                return None
            key_id = self._remember(key_hash, request.verify(snapshot.key))
        try:
            request.count(key_id)
            parsed = _parsed(request, key_hash)
        except errors.StripePriceIdNotAllowed:
            self._state.limiter.give_back(key_id)
            return None
        except errors.LicenzyError:
            snapshot = await reader.read(key_hash, "", ends_at=ends_at)
            if snapshot is None:
                return None
            request.verify(snapshot.key)
            raise
        result = await self._committer.submit(parsed, ends_at=ends_at)
        if isinstance(result, _FOR_A_THREAD):
            self._state.limiter.give_back(key_id)
            return None
        return _answer(request, result)

    def _remember(self, key_hash: str, caller: Caller) -> str:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key_hash] = caller.key_id
        return caller.key_id

    def _return_expired(self, request: ApiRequest, result: ExpiredReservations) -> None:
        """Units of reservations whose time is up stand in the way: they go back before it is decided."""
        caller = request.verify(result.key)
        self._database.retrying(
            lambda db: return_expired_reservations(
                db, caller.scope, subject_id=result.subject_id, now=caller.now
            )
        )

    def _open_windows(self, request: ApiRequest, result: UnopenedWindows, subject_ref: str) -> None:
        """The first call in a window opens it, in a transaction before that which draws."""
        caller = request.verify(result.key)
        self._database.retrying(
            lambda db: open_windows(
                db,
                caller.scope,
                subject_id=result.subject_id,
                subject_ref=subject_ref,
                now=caller.now,
                called_at=request.runtime.clock(),
            )
        )

    def _fix_default_unit(self, request: ApiRequest, result: FirstWithoutUnit) -> None:
        """Once for each side, in a transaction of its own: the calls that share a commit wait for no row."""
        caller = request.verify(result.key)
        self._database.retrying(lambda db: fix_default_unit(db, caller.scope, now=request.runtime.clock()))

    def _with_known_names(
        self, request: ApiRequest, result: UnknownNames, parsed: ConsumeRequest
    ) -> ConsumeRequest:
        """The call, which may be refused for want of units. Raises UnitNotFound and ProductNotFound."""
        caller = request.verify(result.key)
        with self._database.read() as db:
            require_known_names(
                db,
                caller.scope,
                subject_ref=parsed.subject_ref,
                unit=parsed.unit,
                product_code=parsed.product_code,
            )
        return replace(parsed, names_are_known=True)


def _answer(request: ApiRequest, result: ConsumeResult) -> Reply:
    """What the caller is told. Raises the refusals that are not kept."""
    if isinstance(result, KeyRefused):
        request.verify(result.key)
        raise errors.ApiKeyInvalid  # It was dead when it was looked at, whatever the time is now.
    # Whether the key lived, the statement has looked at: what was taken with it is told, even if it ends now.
    request.note_browser(request.recognize(result.key, request.runtime.clock()))
    if isinstance(result, KeyReused):
        raise errors.IdempotencyKeyReused
    assert isinstance(result, Answered)
    return request.answer_outcome(result.outcome, replayed=result.replayed)


def _parsed(request: ApiRequest, key_hash: str) -> ConsumeRequest:
    """What is to be consumed. Raises the 415 and 400s."""
    sent = request.json(request.incoming.body)
    body = validated(ConsumeBody, sent)
    return ConsumeRequest(
        key_hash=key_hash,
        subject_ref=body.subject_ref,
        units=body.units,
        idempotency_key=request.idempotency_key(),
        body_hash=body_hash(sent),
        request_id=request.request_id,
        now=to_micros(request.runtime.clock()),
        render=partial(rendered, request.request_id, body.unit),
        unit=body.unit,
        product_code=body.product_code,
    )


def rendered(request_id: str, unit: str | None, decided: Consumed | Refused, mode: Mode) -> Outcome:
    """The answer as it is kept and sent. Pure: it runs in the writer's thread."""
    if isinstance(decided, Consumed):
        answer_body = {"ok": True, "consumed": decided.units, "usage_remaining": decided.remaining}
        return Outcome(200, orjson.dumps(answer_body | naming(unit)).decode())
    return insufficient(request_id, unit, decided, mode)


def naming(unit: str | None) -> dict[str, str]:
    """What an answer says of the unit: what the call named, and nothing where it named none."""
    return {} if unit is None else {"unit": unit}


def insufficient(request_id: str, unit: str | None, refused: Refused, mode: Mode) -> Outcome:
    """The refusal for want of units, which is kept as a success is."""
    error = errors.InsufficientUsage(extra={"usage_remaining": refused.remaining, **naming(unit)})
    return Outcome(error.status, orjson.dumps(refusal(error, request_id, mode.value)).decode())
