"""Verify the raw bytes, keep the event, and answer 2xx only after the commit."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from flask import Response, current_app, request
from sqlmodel import Session

from licenzy import errors
from licenzy.alignment.modes import Mode
from licenzy.connections.actions import webhook_secrets
from licenzy.connections.queries import Addressee, addressee, addressees_at_tenant_webhook
from licenzy.hooks.signatures import SignatureWatch
from licenzy.kit.ids import id_in, new_id
from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.kit.rate import RateLimiter
from licenzy.runtime import Runtime, runtime
from licenzy.stripe_events.receive import keep_invalid, receive
from licenzy.stripe_gateway.shapes import NotAnEvent, ThinEvent, read_event
from licenzy.stripe_gateway.signatures import verify
from licenzy.wsgi_json import JSON, read_body, refusal

MOST_SECRETS = 50
"""How many secrets are tried for an event that does not name its connection."""
STRANGERS_RATE = 10
"""How many unprovable events a second one address may send where the connection is not named."""

_log = logging.getLogger("licenzy.hooks")


def _answering(view: Callable[..., None]) -> Callable[..., Response]:
    """Answers tell neither mode nor project, and are alike for an unknown address and a bad signature."""

    @functools.wraps(view)
    def call(**path: str) -> Response:
        request_id = new_id("req")
        try:
            view(**path)
        except errors.LicenzyError as error:
            return _refuse(error, request_id)
        except Exception:
            # Nothing was committed: Stripe must send it again.
            _log.exception("unexpected failure, request %s", request_id)
            return _refuse(errors.DatabaseUnavailable("The event could not be stored."), request_id)
        return _answer({"received": True}, 200, request_id)

    return call


@_answering
def receive_for_connection(connection_id: str) -> None:
    """`POST /v1/webhooks/stripe/<connection id>`: the address the portal shows."""
    posted = _posted()

    def named(db: Session) -> list[Addressee]:
        possible = id_in(connection_id, "con")
        found = addressee(db, connection_id=possible) if possible else None
        return [found] if found else []

    _receive(runtime(), posted, named)


@_answering
def receive_for_tenant() -> None:
    """`POST /v1/webhooks/stripe/tenant`: the connection is the one whose secret signed the body."""
    posted = _posted()
    parts = runtime()
    address = request.remote_addr or ""
    strangers: RateLimiter = current_app.extensions["licenzy_strangers"]
    strangers.refuse_spent(address)
    try:
        _receive(parts, posted, lambda db: _candidates(db, posted))
    except errors.SignatureInvalid:
        strangers.admit(address)
        raise


class _Posted:
    """What was sent, and what it says as JSON, which is read at most once."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    @functools.cached_property
    def value(self) -> Mapping[str, Any]:
        """The object in the body. Raises NotStrictJson."""
        return parse_object(self.body)


def _posted() -> _Posted:
    return _Posted(read_body(request.environ))


def _receive(parts: Runtime, posted: _Posted, find: Callable[[Session], Sequence[Addressee]]) -> None:
    now, database, body = parts.clock(), parts.database, posted.body
    problem: Exception | None
    if database.is_sqlite:
        # Who writes there has a turn of its own, which is for nobody whose signature has not been seen.
        with database.read() as db:
            found = find(db)
        signer = _signer(parts, found, body, now)
        problem = database.retrying(lambda db: _take(db, signer, posted, now))
    else:
        problem = database.retrying(lambda db: _take(db, _signer(parts, find(db), body, now), posted, now))
    if isinstance(problem, ThinEvent):
        raise errors.ThinEventReceived
    if problem is not None:
        raise errors.InvalidEvent


def _signer(parts: Runtime, candidates: Sequence[Addressee], body: bytes, now: datetime) -> Addressee:
    """The one that signed the body. Raises SignatureInvalid and TimestampOutOfTolerance."""
    header = request.environ.get("HTTP_STRIPE_SIGNATURE", "")
    signers = [each for each in candidates if _signed(parts, each, body, header, now)]
    if not candidates:
        verify(body, header, (), now=now)  # Raises, after as much work as for a known connection.
    if len(signers) != 1:
        _watch().refused(candidates, signers, body, header, request.remote_addr)
        raise errors.SignatureInvalid
    return signers[0]


def _take(db: Session, connection: Addressee, posted: _Posted, now: datetime) -> Exception | None:
    """Keep what was signed, and apply it where it is an event; why it is none."""
    try:
        event = read_event(posted.value)
    except (NotStrictJson, NotAnEvent) as problem:
        keep_invalid(db, connection=connection, body=posted.body, now=now, problem=problem)
        return problem
    receive(
        db,
        connection=connection,
        event=event,
        body=posted.body,
        now=now,
        has_erased=connection.has_erased,
    )
    return None


def _watch() -> SignatureWatch:
    watch: SignatureWatch = current_app.extensions["licenzy_signatures"]
    return watch


def _signed(parts: Runtime, connection: Addressee, body: bytes, header: str, now: datetime) -> bool:
    secrets = webhook_secrets(parts.secret_box, connection, now=now)
    try:
        verify(body, header, secrets, now=now)
    except errors.SignatureInvalid:
        return False
    return True


def _candidates(db: Session, posted: _Posted) -> list[Addressee]:
    """Whose secrets to try, narrowed by what the unverified body says of its mode and project."""
    try:
        claimed = posted.value
    except NotStrictJson:
        return []
    livemode = claimed.get("livemode")
    if not isinstance(livemode, bool):
        return []
    data = claimed.get("data")
    obj = data.get("object") if isinstance(data, dict) else None
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    named = metadata.get("licenzy_project") if isinstance(metadata, dict) else None
    project_id = id_in(named, "prj") if isinstance(named, str) else None
    if isinstance(named, str) and project_id is None:
        return []
    return addressees_at_tenant_webhook(
        db,
        mode=Mode.of_livemode(livemode),
        project_id=project_id,
        most=MOST_SECRETS,
    )


def _refuse(error: errors.LicenzyError, request_id: str) -> Response:
    payload = refusal(error, request_id, None)
    response = _answer(payload, error.status, request_id)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _answer(payload: dict[str, object], status: int, request_id: str) -> Response:
    response = Response(orjson.dumps(payload), status, content_type=JSON)
    response.headers["Licenzy-Request-Id"] = request_id
    response.headers["Cache-Control"] = "no-store"
    return response
