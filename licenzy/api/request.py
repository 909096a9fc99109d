"""One call of `/v1`: who asks, what they sent, and the one shape of every answer."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NoSuchRoute

from licenzy import errors
from licenzy.api.caller import Caller
from licenzy.api.check_counter import CheckCounter
from licenzy.api.credentials import hash_of_key
from licenzy.api.incoming import Incoming, WsgiIncoming
from licenzy.api.last_used import LastUsed
from licenzy.api.misuse import MisuseRecorder
from licenzy.api.refusal_log import RefusalLog
from licenzy.api.reply import Reply
from licenzy.api.routes import UNKNOWN_ROUTE, CallRoute
from licenzy.api.schemas import Body, validated
from licenzy.api_keys.models import KeyScope
from licenzy.api_keys.queries import PresentedKey, presented_key
from licenzy.api_keys.rules import allows, require_alive
from licenzy.hotpath.keys import KeyRow
from licenzy.idempotency.actions import CallKey
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import to_micros
from licenzy.kit.ids import new_id
from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.kit.rate import RateLimiter
from licenzy.runtime import Runtime
from licenzy.wsgi_json import JSON, refusal

_JSON_TYPES = frozenset(
    "application/json" + charset
    for charset in ("", "; charset=utf-8", ";charset=utf-8", '; charset="utf-8"', ';charset="utf-8"')
)
_CONTENT_TYPE, _NO_STORE = ("Content-Type", JSON), ("Cache-Control", "no-store")
_log = logging.getLogger("licenzy.api")

B = TypeVar("B", bound=Body)


class ApiState:
    """What the door keeps for the life of a process: how often keys call, and what is counted beside."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.limiter = RateLimiter(runtime.settings.rate_limit)
        self.last_used = LastUsed(runtime)
        self.checks = CheckCounter(runtime)
        self.misuse = MisuseRecorder(runtime)
        self.refused = RefusalLog(runtime)


class ApiRequest:
    """The call being answered."""

    __slots__ = ("caller", "incoming", "request_id", "route", "state")

    def __init__(self, state: ApiState, incoming: Incoming, route: CallRoute) -> None:
        self.state = state
        self.incoming = incoming
        self.route = route
        self.request_id = new_id("req")
        self.caller: Caller | None = None

    @property
    def runtime(self) -> Runtime:
        return self.state.runtime

    def presented(self) -> str:
        """The hash of the API key that was sent. Raises the 401s that need no database."""
        return hash_of_key(self.incoming.header("authorization"))

    def authenticate(self) -> Caller:
        """Who asks, read from the database, and counted as a use.

        Raises the 401s, InsufficientScope and RateLimited.
        """
        caller = self.identify_key(self.presented())
        self.count(caller.key_id)
        return caller

    def identify_key(self, key_hash: str) -> Caller:
        """Who asks, read from the database, not counted as a use. Raises what `verify` does."""
        with self.runtime.database.read() as db:
            return self.verify(presented_key(db, key_hash=key_hash))

    def admit(self, key: KeyRow | None) -> Caller:
        """The caller behind a key that was read, counted as a use; from here on answers tell the mode."""
        caller = self.verify(key)
        self.count(caller.key_id)
        return caller

    def count(self, key_id: str) -> None:
        """Note a use of the key. Raises RateLimited."""
        self.state.limiter.admit(key_id)
        self.state.last_used.note(key_id)

    def verify(self, key: KeyRow | PresentedKey | None) -> Caller:
        """The caller behind such a key, not counted as a use. Raises the 401s and InsufficientScope.

        Every call that takes a key comes through here, so that none is answered outside of its scope.
        """
        if key is None:
            raise errors.ApiKeyInvalid
        now = self.state.runtime.clock()
        caller = self.recognize(key, now)
        require_alive(key, to_micros(now) if isinstance(key, KeyRow) else now)
        self._require_scope(key.scopes, caller)
        self.note_browser(caller)
        return caller

    def _require_scope(self, scopes: str, caller: Caller) -> None:
        needed = self.route.scope
        assert needed is not None, f"{self.route.path} takes no API key"
        if allows(scopes, needed):
            return
        page = f"{self.runtime.settings.base_url}/projects/{caller.project_id}/{caller.mode}/api-keys"
        raise errors.InsufficientScope(
            f"This API key has the scope {scopes.replace(' ', ' and ')}. This call needs {_worded(needed)}.",
            hint=f"Create a key with the scope {_worded(needed)} at {page}, and send that one.",
            headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
        )

    def recognize(self, key: KeyRow | PresentedKey, now: datetime) -> Caller:
        """The caller behind a key, whether or not it still lives; from here on answers tell the mode."""
        scope = key.scope
        self.caller = Caller(key.id, scope, scope.at(now), now)
        return self.caller

    def note_browser(self, caller: Caller) -> None:
        """Count a call with a good key that a browser has sent."""
        origin = self.incoming.header("origin")
        if origin is not None:
            self.state.misuse.browser(caller, origin)

    def body(self, schema: type[B]) -> B:
        """The validated body. Raises UnsupportedMediaType and refusals with status 400."""
        return validated(schema, self.json(self.incoming.body))

    def json(self, raw: bytes) -> dict[str, Any]:
        """The strict JSON object that was sent as `raw`."""
        content_type = self.incoming.header("content-type") or ""
        if content_type != "application/json" and content_type.lower() not in _JSON_TYPES:
            raise errors.UnsupportedMediaType
        try:
            return parse_object(raw)
        except NotStrictJson as problem:
            raise errors.InvalidJson(f"The body is not valid JSON: {_briefly(problem)}.") from None

    def idempotency(self, endpoint: str) -> CallKey:
        """The call's Idempotency-Key within its side and endpoint. Raises the two 400s."""
        assert self.caller is not None
        return CallKey(self.caller.scope, endpoint, self.idempotency_key())

    def idempotency_key(self) -> str:
        """The call's Idempotency-Key. Raises the two 400s."""
        key = self.incoming.header("idempotency-key")
        if key is None:
            raise errors.IdempotencyKeyMissing
        # A header that was sent twice arrives joined by a comma, and which is meant nobody can tell.
        if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable() or "," in key:
            raise errors.IdempotencyKeyInvalid
        return key

    def answer(self, payload: Mapping[str, Any], status: int = 200) -> Reply:
        """A success."""
        return self._reply(status, orjson.dumps(payload))

    def answer_outcome(self, outcome: Outcome, *, replayed: bool) -> Reply:
        """The outcome of a call with an Idempotency-Key, told for the first time or again."""
        if outcome.status >= 400 and self.caller is not None:
            self.state.refused.note_outcome(self.caller, self.route, self.request_id, outcome)
        again = [("Idempotent-Replayed", "true")] if replayed else []
        return self._reply(outcome.status, outcome.body.encode(), again)

    def refuse(self, error: errors.LicenzyError) -> Reply:
        """A refusal, in the one shape that docs/errors.md describes."""
        if self.caller is not None:
            self.state.misuse.refusal(self.caller, error)
            self.state.refused.note(
                self.caller, self.route, self.request_id, status=error.status, code=error.code
            )
        payload = refusal(error, self.request_id, self.caller.mode.value if self.caller else None)
        headers = list(error.headers.items())
        if error.status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        if error.retry_after is not None:
            headers.append(("Retry-After", str(error.retry_after)))
        return self._reply(error.status, orjson.dumps(payload), headers)

    def refuse_unexpected(self) -> Reply:
        """The answer to a failure of ours, which is being handled: it tells nothing but its number."""
        _log.exception("unexpected failure, request %s", self.request_id)
        return self.refuse(errors.LicenzyError())

    def _reply(self, status: int, body: bytes, more: Sequence[tuple[str, str]] = ()) -> Reply:
        headers = [
            _CONTENT_TYPE,
            ("Content-Length", str(len(body))),
            _NO_STORE,
            ("Licenzy-Request-Id", self.request_id),
            *more,
        ]
        if self.caller is not None:
            headers.append(("Licenzy-Mode", self.caller.mode.value))
        return Reply(status, headers, body)


def answering(state: ApiState, view: Callable[..., Reply], route: CallRoute) -> Callable[..., Response]:
    """A Flask view around a function of an ApiRequest; every refusal has the shape of docs/errors.md."""

    def call(**path: str) -> Response:
        return answered(ApiRequest(state, WsgiIncoming(request.environ), route), view, **path).response()

    return call


def answered(call: ApiRequest, view: Callable[..., Reply], **path: str) -> Reply:
    """What the view answers, or the refusal that it ran into."""
    try:
        return view(call, **path)
    except errors.LicenzyError as error:
        return call.refuse(error)
    except Exception:
        return call.refuse_unexpected()


def refuse_exception(state: ApiState, problem: Exception) -> Response:
    """The answer under `/v1` for what is raised before any view runs, such as an unknown path."""

    def refuse(_call: ApiRequest) -> Reply:
        raise _in_our_words(problem)

    call = ApiRequest(state, WsgiIncoming(request.environ), UNKNOWN_ROUTE)
    return answered(call, refuse).response()


def _in_our_words(problem: Exception) -> Exception:
    """The refusal that an exception of Flask's comes to; any other exception as it is."""
    if isinstance(problem, MethodNotAllowed):
        allow = ", ".join(sorted(set(problem.valid_methods or ()) - {"OPTIONS"}))
        return errors.MethodNotAllowed(headers={"Allow": allow})
    if isinstance(problem, RequestEntityTooLarge):
        return errors.PayloadTooLarge()
    if isinstance(problem, NoSuchRoute):
        return errors.NotFound(hint="Compare the path with the API reference.")
    if isinstance(problem, HTTPException) and problem.code is not None and problem.code < 500:
        return errors.InvalidRequest()
    return problem


def body_hash(value: Mapping[str, Any]) -> str:
    """The same for the same JSON object, however it was spaced or ordered."""
    # Not orjson, which refuses lone surrogates: what is wrong with a text is for its own rule to say.
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _worded(needed: KeyScope) -> str:
    return "read or runtime" if needed is KeyScope.READ else needed.value


def _briefly(problem: Exception) -> str:
    """The parser's words without anything of the caller's text."""
    return str(problem).split(": line", 1)[0].split("(char", 1)[0].strip()[:120]
