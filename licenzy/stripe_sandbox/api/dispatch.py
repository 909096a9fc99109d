"""What every call of the API passes: key, rate, permission, faults, parameters, idempotency, then the
work."""

from __future__ import annotations

import copy
import logging
import sqlite3
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flask import Request, Response, request
from werkzeug.exceptions import HTTPException

from licenzy.stripe_sandbox import fault_injection, form
from licenzy.stripe_sandbox.account_store import AccountStore, public
from licenzy.stripe_sandbox.accounts import Account, Key, find_by_key
from licenzy.stripe_sandbox.api.expand import expand
from licenzy.stripe_sandbox.api.idempotency import ApiResponse, IdempotencyRecord, dump
from licenzy.stripe_sandbox.api.table import ApiOperation
from licenzy.stripe_sandbox.errors import (
    Broken,
    InvalidParameter,
    PermissionMissing,
    RateLimitExceeded,
    RequestRefused,
    StripeRefusal,
    Unauthenticated,
)
from licenzy.stripe_sandbox.ids import masked, new_id
from licenzy.stripe_sandbox.services import Services
from licenzy.stripe_sandbox.version import PINNED, Json, is_version

_log = logging.getLogger(__name__)
_OWN_ACCOUNT = "Stripe-Account"


def handle(services: Services, operation: ApiOperation, ids: dict[str, str]) -> Response:
    """Answer one call. Nothing that a caller sends makes anything but an answer in Stripe's shape."""
    request_id = new_id("req_", 14)
    try:
        fault, answer = _perform(services, operation, ids, request_id)
    except StripeRefusal as refusal:
        return respond(ApiResponse(refusal.status, dump(refusal.body()), request_id))
    except HTTPException:
        raise  # a body too large, met while it is read: the application's own refusal
    except Exception:
        _log.exception("the sandbox failed on %s", operation.name)
        return respond(ApiResponse(500, dump(Broken().body()), request_id))
    services.sender.wake()
    return _drop_connection(answer) if fault.drop_after_work else respond(answer)


def refuse(refusal: StripeRefusal) -> Response:
    """An answer to a call that meets no operation at all."""
    return respond(ApiResponse(refusal.status, dump(refusal.body()), new_id("req_", 14)))


def respond(answer: ApiResponse) -> Response:
    response = Response(answer.body, answer.status, content_type="application/json")
    response.headers["Request-Id"] = answer.request_id
    if answer.at is not None:
        response.date = datetime.fromtimestamp(answer.at, UTC)
    version = request.headers.get("Stripe-Version", "")
    response.headers["Stripe-Version"] = version if is_version(version) else PINNED
    if key := request.headers.get("Idempotency-Key"):
        response.headers["Idempotency-Key"] = (
            key.encode("ascii", "replace").decode().translate({10: 63, 13: 63})
        )
    if answer.replayed:
        response.headers["Idempotent-Replayed"] = "true"
        response.headers["Original-Request"] = answer.request_id
    if answer.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Stripe sandbox"'
    if answer.status == 429:
        response.headers["Stripe-Rate-Limited-Reason"] = "global-rate"
    if answer.status >= 500 or answer.replayed:
        # Another try with the same key would get the same response.
        response.headers["Stripe-Should-Retry"] = "false"
    return response


def _perform(
    services: Services, operation: ApiOperation, ids: dict[str, str], request_id: str
) -> tuple[fault_injection.Fault, ApiResponse]:
    account, key = _authenticate(services)
    path = request.path
    services.call_log.note(account.scope, operation.name, request.full_path.rstrip("?"))
    if services.rate_limit.exceeded(account.scope, account.faults, operation.method, path):
        raise RateLimitExceeded
    if key.permissions is not None and not _permits(key.permissions, operation.permission):
        raise _forbidden(account, key, operation)
    _validate_headers(account, key)
    fault = _fault(services, account, operation.method, path)
    if fault.forbid:
        raise _forbidden(account, key, operation)
    idempotency_key = request.headers.get("Idempotency-Key") if operation.method == "POST" else None
    work = _ApiCall(services, operation, ids, request_id, account, fault, idempotency_key)
    answer = work.execute_once(idempotency_key) if idempotency_key else work.execute()
    return fault, replace(answer, at=account.now)


@dataclass
class _ApiCall:
    """One call whose caller may make it."""

    services: Services
    operation: ApiOperation
    ids: dict[str, str]
    request_id: str
    account: Account
    fault: fault_injection.Fault
    idempotency_key: str | None

    def execute(self) -> ApiResponse:
        params = self._params(_decode_params(request))
        time.sleep(self.fault.hang_seconds)
        if self.fault.http_500:
            raise Broken
        with self.services.store.writing() if self.operation.writes else self.services.store.reading() as db:
            return self._run_handler(db, params)

    def execute_once(self, key: str) -> ApiResponse:
        """The first outcome again for a key seen before; otherwise the work, remembered with its outcome."""
        decoded = _decode_params(request)
        record = IdempotencyRecord(
            self.services.store, self.account.scope, key, self.operation.method, request.path, decoded
        )
        if (seen := record.stored_response()) is not None:
            return seen
        params = self._params(decoded)
        if (seen := record.begin(self.request_id)) is not None:
            return seen
        try:
            time.sleep(self.fault.hang_seconds)
            if self.fault.http_500:
                raise Broken
            with self.services.store.writing() as db:
                answer = self._run_handler(db, params)
                record.store(db, answer)
        except StripeRefusal as refusal:
            return self._finish(record, refusal)
        except Exception:
            self._finish(record, Broken())
            raise
        return answer

    def _finish(self, record: IdempotencyRecord, refusal: StripeRefusal) -> ApiResponse:
        """An outcome other than success: remembered when the work had begun, and the key set free
        otherwise."""
        answer = ApiResponse(refusal.status, dump(refusal.body()), self.request_id)
        with self.services.store.writing() as db:
            if refusal.replayable:
                record.store(db, answer)
            else:
                record.delete(db)
        return answer

    def _params(self, decoded: Json) -> Json:
        checked: Json = self.operation.params(decoded, "")
        return checked

    def _run_handler(self, db: sqlite3.Connection, params: Json) -> ApiResponse:
        paths = params.pop("expand", [])
        session = AccountStore(
            db,
            self.account,
            self.services.public_url,
            request_id=self.request_id,
            idempotency_key=self.idempotency_key,
        )
        try:
            body = _public_copy(self.operation.handler(session, params, **self.ids))
        except StripeRefusal as refusal:
            if not refusal.keeps_work:
                raise
            return ApiResponse(refusal.status, dump(refusal.body()), self.request_id)
        return ApiResponse(200, dump(expand(session, body, paths)), self.request_id)


def _authenticate(services: Services) -> tuple[Account, Key]:
    credentials = request.authorization
    secret = (credentials.token or credentials.username or "") if credentials else ""
    if not secret:
        raise Unauthenticated(
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
    if secret.startswith("pk_"):
        raise Unauthenticated(
            "This API call cannot be made with a publishable API key. Please use a secret API key.",
            code="secret_key_required",
        )
    with services.store.reading() as db:
        found = find_by_key(db, secret)
    if found is None:
        raise Unauthenticated(f"Invalid API Key provided: {masked(secret)}")
    return found


def _permits(granted: frozenset[str], needed: str) -> bool:
    """Writing implies reading."""
    return needed in granted or (
        needed.endswith("_read") and needed.removesuffix("read") + "write" in granted
    )


def _forbidden(account: Account, key: Key, operation: ApiOperation) -> PermissionMissing:
    return PermissionMissing(
        f"The provided key '{masked(key.secret)}' does not have the required permissions for this "
        f"endpoint on account '{account.id}'. Having the '{operation.permission}' permission would allow "
        f"this request to continue."
    )


def _validate_headers(account: Account, key: Key) -> None:
    version = request.headers.get("Stripe-Version")
    if version is not None and not is_version(version):
        raise InvalidParameter(f"Invalid Stripe API version: {version}")
    named_account = request.headers.get(_OWN_ACCOUNT, account.id)
    if named_account != account.id:
        raise PermissionMissing(
            f"The provided key '{masked(key.secret)}' does not have access to account '{named_account}' (or "
            "that account does not exist). Application access may have been revoked.",
            code="account_invalid",
        )
    idempotency_key = request.headers.get("Idempotency-Key", "")
    if len(idempotency_key) > 255:
        raise RequestRefused("Idempotency keys can be at most 255 characters long.")


def _fault(services: Services, account: Account, method: str, path: str) -> fault_injection.Fault:
    if account.faults == "{}":
        return fault_injection.Fault()
    with services.store.writing() as db:
        return fault_injection.take_fault(db, account.scope, method, path)


def _decode_params(incoming: Request) -> Json:
    if incoming.method == "POST":
        if incoming.mimetype not in ("application/x-www-form-urlencoded", ""):
            raise InvalidParameter(
                "Invalid request: the body must be form-encoded (hint: have you confirmed that your "
                "Content-Type is "
                "'application/x-www-form-urlencoded'?)"
            )
        return {**form.decode(incoming.query_string), **form.decode(incoming.get_data(cache=False))}
    return form.decode(incoming.query_string)


def _public_copy(body: Json) -> Json:
    """The body without the sandbox's own notes, inside of lists too; a copy, for expanding changes it."""
    if body.get("object") == "list":
        return {**body, "data": [copy.deepcopy(public(each)) for each in body["data"]]}
    return copy.deepcopy(public(body))


def _drop_connection(answer: ApiResponse) -> Response:
    """The connection breaks although the work is done. Werkzeug's server gives access to its socket, which is
    shut; any other server gets a shorter body than announced, and closes the connection for it."""
    socket = request.environ.get("werkzeug.socket")
    if socket is not None:
        socket.shutdown(2)
    response = Response([b"{"], 200, content_type="application/json")
    response.headers["Content-Length"] = str(len(answer.body.encode()) + 1000)
    return response
