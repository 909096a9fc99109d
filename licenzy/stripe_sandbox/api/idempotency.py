"""Idempotency keys: the first outcome of a request, kept for those who ask the same again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from licenzy.stripe_sandbox.errors import IdempotencyConflict
from licenzy.stripe_sandbox.store import Store
from licenzy.stripe_sandbox.version import Json


@dataclass(frozen=True)
class ApiResponse:
    """An answer as it is sent, and as it is remembered."""

    status: int
    body: str
    request_id: str
    replayed: bool = False
    at: int | None = None
    """The account's own time, which the answer is dated by; real time where the account is not known."""


class IdempotencyRecord:
    """The record of one idempotency key of one account, for one request."""

    def __init__(self, store: Store, scope: str, key: str, method: str, path: str, decoded: Json) -> None:
        self._store, self._scope, self._key, self._path = store, scope, key, path
        self._endpoint = f"{method} {path}"
        request = json.dumps([self._endpoint, decoded], sort_keys=True)
        self._fingerprint = hashlib.sha256(request.encode()).hexdigest()

    def stored_response(self) -> ApiResponse | None:
        """The first outcome, None for a new key; refuses a key of another request or of one still running."""
        with self._store.reading() as db:
            return self._stored_response(db)

    def begin(self, request_id: str) -> ApiResponse | None:
        """Take the key. Returns the stored response when another call was quicker."""
        with self._store.writing() as db:
            if (seen := self._stored_response(db)) is not None:
                return seen
            db.execute(
                "INSERT INTO idempotency (scope, key, endpoint, fingerprint, request_id) VALUES (?, ?, ?, "
                "?, ?)",
                (self._scope, self._key, self._endpoint, self._fingerprint, request_id),
            )
        return None

    def store(self, db: sqlite3.Connection, answer: ApiResponse) -> None:
        """In the transaction of the work, so that a killed process has done both or neither."""
        db.execute(
            "UPDATE idempotency SET status = ?, body = ? WHERE scope = ? AND key = ?",
            (answer.status, answer.body, self._scope, self._key),
        )

    def delete(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM idempotency WHERE scope = ? AND key = ?", (self._scope, self._key))

    def _stored_response(self, db: sqlite3.Connection) -> ApiResponse | None:
        row = db.execute(
            "SELECT * FROM idempotency WHERE scope = ? AND key = ?", (self._scope, self._key)
        ).fetchone()
        if row is None:
            return None
        self._require_same_request(row)
        if row["status"] is None:
            raise IdempotencyConflict(
                "There is currently another in-progress request using this Idempotent Key (that probably "
                "means you "
                f"submitted twice, and the other request is still going through): {self._key}. Please try "
                f"again later.",
                status=409,
                code="idempotency_key_in_use",
            )
        return ApiResponse(row["status"], row["body"], row["request_id"], replayed=True)

    def _require_same_request(self, row: sqlite3.Row) -> None:
        advice = f"Try using a key other than '{self._key}' if you meant to execute a different request."
        if row["endpoint"] != self._endpoint:
            raise IdempotencyConflict(
                "Keys for idempotent requests can only be used for the same endpoint they were first used "
                "for "
                f"('{self._path}' vs '{row['endpoint'].split(' ')[1]}'). {advice}",
                status=400,
            )
        if row["fingerprint"] != self._fingerprint:
            raise IdempotencyConflict(
                "Keys for idempotent requests can only be used with the same parameters they were first "
                "used with. " + advice,
                status=400,
            )


def dump(body: Any) -> str:
    """JSON as Stripe writes it."""
    return json.dumps(body, indent=2, ensure_ascii=False)
