"""One call of `/v1`: who asks, what they sent, and the one shape of every answer."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from flask import Response, request
from sqlalchemy import Select, and_, bindparam, select
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NoSuchRoute

from licenzy import errors
from licenzy.alignment.modes import Mode
from licenzy.api.caller import Caller
from licenzy.api.checked import Checked
from licenzy.api.last_used import LastUsed
from licenzy.api.noticed import Watch
from licenzy.api.reply import Reply
from licenzy.api.schemas import Body, validated
from licenzy.api_keys.models import ApiKey
from licenzy.api_keys.rules import presented_hash
from licenzy.connections.models import Connection
from licenzy.db.prepared import PreparedRead, ThreadConnections
from licenzy.idempotency.actions import Outcome, Scope
from licenzy.kit.clock import to_micros
from licenzy.kit.ids import new_id
from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.kit.rate import RateLimiter
from licenzy.runtime import Runtime
from licenzy.wire import JSON, body_length, read_body, refusal

MAX_BODY = 64 * 1024
_JSON_TYPES = frozenset(
    "application/json" + charset
    for charset in ("", "; charset=utf-8", ";charset=utf-8", '; charset="utf-8"', ';charset="utf-8"')
)
_log = logging.getLogger("licenzy.api")

B = TypeVar("B", bound=Body)

_api_keys: Any = ApiKey.__table__  # type: ignore[attr-defined]
_connections: Any = Connection.__table__  # type: ignore[attr-defined]
_KEY = _api_keys.c


def key_statement(*columns: Any) -> Select[Any]:
    """A statement that starts from the presented key's hash and tells the key first, then `columns`."""
    return (
        select(
            _KEY.id,
            _KEY.project_id,
            _KEY.mode,
            _KEY.revoked_at,
            _KEY.expires_at,
            _connections.c.clock_offset_seconds,
            *columns,
        )
        .select_from(_api_keys)
        .outerjoin(
            _connections,
            and_(_connections.c.project_id == _KEY.project_id, _connections.c.mode == _KEY.mode),
        )
        .where(_KEY.key_hash == bindparam("key_hash"))
    )


_BY_KEY = key_statement()
_MODES = {mode.value: mode for mode in Mode}
_CONTENT_TYPE, _NO_STORE = ("Content-Type", JSON), ("Cache-Control", "no-store")


class Desk:
    """What the door keeps for the life of a process: connections of its threads, statements, counts."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.connections = ThreadConnections(runtime.database, prepares=runtime.settings.prepared_statements)
        self.limiter = RateLimiter(runtime.settings.rate_limit)
        self.last_used = LastUsed(runtime)
        self.checked = Checked(runtime)
        self.watch = Watch(runtime)
        self.key_read = self.prepare(_BY_KEY)

    def prepare(self, statement: Select[Any]) -> PreparedRead:
        """A statement made ready for the process's database."""
        return PreparedRead(self.connections, statement)


class Exchange:
    """The call being answered."""

    __slots__ = ("_length", "caller", "desk", "environ", "request_id")

    def __init__(self, desk: Desk, environ: Mapping[str, Any]) -> None:
        self.desk = desk
        self.environ = environ
        self.request_id = new_id("req")
        self.caller: Caller | None = None

    @property
    def runtime(self) -> Runtime:
        return self.desk.runtime

    def presented(self) -> str:
        """The hash of the API key that was sent. Raises the 401s that need no database."""
        header = self.environ.get("HTTP_AUTHORIZATION")
        if header is None:
            raise errors.ApiKeyMissing
        return _bearer_hash(header)

    def authenticate(self) -> Caller:
        """Who asks, read from the database. Raises the 401s and RateLimited."""
        return self.admit(self.desk.key_read.rows(key_hash=self.presented()))

    def admit(self, rows: list[Any]) -> Caller:
        """The caller behind the rows of a `key_statement`; from here on answers tell the mode."""
        caller = self.verify(rows)
        self.count(caller.key_id)
        return caller

    def count(self, key_id: str) -> None:
        """Note a use of the key. Raises RateLimited."""
        self.desk.limiter.admit(key_id)
        self.desk.last_used.note(key_id)

    def verify(self, rows: Sequence[Sequence[Any]]) -> Caller:
        """The caller behind such rows, not counted as a use. Raises the 401s."""
        if not rows:
            raise errors.ApiKeyInvalid
        key_id, project_id, mode, revoked_at, expires_at, offset = rows[0][:6]
        now = self.desk.runtime.clock()
        self.caller = Caller(
            key_id, project_id, _MODES[mode], now + timedelta(seconds=offset) if offset else now, now
        )
        if revoked_at is not None:
            raise errors.ApiKeyRevoked
        if expires_at is not None and expires_at <= to_micros(now):
            raise errors.ApiKeyExpired
        if "HTTP_ORIGIN" in self.environ:
            self.desk.watch.browser(self.caller, self.environ["HTTP_ORIGIN"])
        return self.caller

    def body(self, schema: type[B]) -> B:
        """The validated body. Raises the 413, 415 and 400s of SPEC 5."""
        return validated(schema, self.json(self.raw()))

    def json(self, raw: bytes) -> dict[str, Any]:
        """The strict JSON object that was sent as `raw`."""
        content_type = self.environ.get("CONTENT_TYPE", "")
        if content_type != "application/json" and content_type.lower() not in _JSON_TYPES:
            raise errors.UnsupportedMediaType
        try:
            return parse_object(raw)
        except NotStrictJson as problem:
            raise errors.InvalidJson(f"The body is not acceptable JSON: {_briefly(problem)}.") from None

    def measure(self) -> None:
        """Look at the body's length, before anything else. Raises PayloadTooLarge over 64 KiB."""
        self._length = body_length(self.environ, most=MAX_BODY)

    def raw(self) -> bytes:
        """The body's bytes."""
        return read_body(self.environ, self._length)

    def scope(self, endpoint: str) -> Scope:
        """The call's Idempotency-Key within its project, mode and endpoint. Raises the two 400s."""
        assert self.caller is not None
        return Scope(self.caller.project_id, self.caller.mode, endpoint, self.idempotency_key())

    def idempotency_key(self) -> str:
        """The call's Idempotency-Key. Raises the two 400s."""
        key: str | None = self.environ.get("HTTP_IDEMPOTENCY_KEY")
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
        again = [("Idempotent-Replayed", "true")] if replayed else []
        return self._reply(outcome.status, outcome.body.encode(), again)

    def refuse(self, error: errors.LicenzyError) -> Reply:
        """A refusal, in the one shape of SPEC 5."""
        if self.caller is not None:
            self.desk.watch.refusal(self.caller, error)
        payload = refusal(error, self.request_id, self.caller.mode.value if self.caller else None)
        headers = list(error.headers.items())
        if error.status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        if error.retry_after is not None:
            headers.append(("Retry-After", str(error.retry_after)))
        return self._reply(error.status, orjson.dumps(payload), headers)

    def _reply(self, status: int, body: bytes, more: Sequence[tuple[str, str]] = ()) -> Reply:
        headers = [
            _CONTENT_TYPE,
            ("Content-Length", str(len(body))),
            _NO_STORE,
            ("Licenzy-Request-Id", self.request_id),
            *more,
        ]
        if self.caller is not None:
            headers.append(("Licenzy-Mode", str(self.caller.mode)))
        return Reply(status, headers, body)


@lru_cache(maxsize=512)
def _bearer_hash(header: str) -> str:
    """The hash of the key in an Authorization header; whether the key is good, the database says each time.

    Only headers whose checksum fits are remembered, as strangers' cause an error here.
    """
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise errors.ApiKeyInvalid
    return presented_hash(token.strip(" "))


def answering(desk: Desk, view: Callable[..., Reply]) -> Callable[..., Response]:
    """A Flask view around a function of an Exchange; its every outcome has SPEC 5's shape."""

    def call(**path: str) -> Response:
        return answered(Exchange(desk, request.environ), view, **path).response()

    return call


def answered(exchange: Exchange, view: Callable[..., Reply], **path: str) -> Reply:
    """What the view answers, or the refusal that it ran into."""
    try:
        exchange.measure()
        return view(exchange, **path)
    except errors.LicenzyError as error:
        return exchange.refuse(error)
    except Exception:
        _log.exception("unexpected failure, request %s", exchange.request_id)
        return exchange.refuse(errors.LicenzyError())


def refuse_exception(desk: Desk, problem: Exception) -> Response:
    """The answer under `/v1` for what is raised before any view runs, such as an unknown path."""

    def refuse(_exchange: Exchange) -> Reply:
        raise _in_our_words(problem)

    return answered(Exchange(desk, request.environ), refuse).response()


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


def _briefly(problem: Exception) -> str:
    """The parser's words without anything of the caller's text."""
    return str(problem).split(": line", 1)[0].split("(char", 1)[0].strip()[:120]
