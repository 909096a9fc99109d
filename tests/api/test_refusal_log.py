"""Refused calls of known keys are kept beside the requests: what, when and why, and nothing that was sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api import refusal_log
from licenzy.api.caller import Caller
from licenzy.api.refusal_log import MOST_AT_ONCE, RefusalLog
from licenzy.api.routes import CallRoute
from licenzy.api_keys import queries
from licenzy.api_keys.models import ApiKey, ApiKeyRefusal, KeyScope
from licenzy.api_keys.refusals import RefusedCall, keep_refusals
from licenzy.api_keys.rules import REFUSALS_KEPT
from licenzy.db.unit_of_work import Database
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from tests.api.bad_requests import bearer
from tests.api.test_every_route import TABLE
from tests.support.cast import Cast, make_key
from tests.support.clock import START
from tests.support.hotpath import LoopClient
from tests.support.ports import wait_until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are written at once instead of every two seconds."""
    monkeypatch.setattr(refusal_log, "PAUSE_SECONDS", 0)


def kept(database: Database) -> Sequence[ApiKeyRefusal]:
    with database.read() as db:
        return db.exec(select(ApiKeyRefusal)).all()


def wait_for(database: Database, number: int) -> Sequence[ApiKeyRefusal]:
    wait_until(lambda: len(kept(database)) >= number, seconds=10, what="refusals are kept")
    return kept(database)


def a_key(database: Database, cast: Cast, **columns: Any) -> tuple[ApiKey, str]:
    with database.write() as db:
        return make_key(db, project_id=cast.project_id, **columns)


def test_every_call_that_is_refused_is_kept_by_its_route(
    app: Flask, client: FlaskClient, database: Database, cast: Cast
) -> None:
    """On the loop as in Flask; with the very request id that the caller was given."""
    key, token = a_key(database, cast, scopes="audit")
    forbidden = [route for route in TABLE if route.rule != "/v1/audit"]
    answers = [route.call(client, token, headers={"Idempotency-Key": "k"}) for route in forbidden]
    loop = LoopClient(app)
    answers += [
        loop.post(route.path, json=route.body, headers=bearer(token) | {"Idempotency-Key": "k"})
        for route in (TABLE[0], TABLE[2])
    ]
    rows = wait_for(database, len(answers))
    assert {row.request_id for row in rows} == {each.headers["Licenzy-Request-Id"] for each in answers}
    assert {(row.key_id, row.project_id, row.mode) for row in rows} == {(key.id, cast.project_id, Mode.TEST)}
    assert {(row.status, row.code) for row in rows} == {(403, "insufficient_scope")}
    assert {row.at for row in rows} == {START}
    expected = {
        (route.method, route.rule.replace("<ref:", "{").replace("<", "{").replace(">", "}"))
        for route in forbidden
    }
    assert {(row.method, row.path) for row in rows} == expected


def test_all_kinds_of_refusals_are_kept_and_successes_are_not(
    client: FlaskClient, database: Database, cast: Cast
) -> None:
    _, token = a_key(database, cast)
    _, revoked = a_key(database, cast, revoked_at=START)
    _, expired = a_key(database, cast, expires_at=START)
    check, consume, entitlements = TABLE[0], TABLE[2], TABLE[9]
    assert check.call(client, token).status_code == 200
    assert client.post("/v1/access/check", json={"subject_ref": "u"}).status_code == 401
    for answer in (
        check.call(client, token, json={"subject_ref": "secret ref", "x": "secret value"}),
        entitlements.call(client, token, path="/v1/entitlements/secret-ref?limit=secret"),
        consume.call(client, token),
        consume.call(client, token),
        check.call(client, revoked),
        check.call(client, expired),
    ):
        assert answer.status_code >= 400
    rows = wait_for(database, 6)
    assert sorted((row.status, row.code) for row in rows) == [
        (400, "invalid_request"),
        (400, "unknown_field"),
        (401, "api_key_expired"),
        (401, "api_key_revoked"),
        (409, "insufficient_usage"),
        (409, "insufficient_usage"),
    ]
    assert "secret" not in repr(rows)


def test_the_newest_of_each_key_are_kept(database: Database, cast: Cast) -> None:
    key, other = a_key(database, cast)[0], a_key(database, cast)[0]
    scope = Scope(cast.project_id, Mode.TEST)
    calls = [
        RefusedCall(new_id("req"), START + timedelta(seconds=number), 400, "invalid_json", "POST", "/v1/x")
        for number in range(REFUSALS_KEPT + 30)
    ]
    for first in range(0, len(calls), 26):
        with database.write() as db:
            keep_refusals(db, scope, key_id=key.id, calls=calls[first : first + 26])
            keep_refusals(db, scope, key_id=other.id, calls=[calls[first]])
    with database.read() as db:
        newest = queries.refusals(db, scope, key_id=key.id)
        assert len(queries.refusals(db, scope, key_id=other.id)) == 5
        elsewhere = Scope(cast.project_id, Mode.LIVE)
        assert queries.refusals(db, elsewhere, key_id=key.id) == []
        assert queries.refusal_of_request(db, elsewhere, request_id=calls[-1].request_id) is None
        found = queries.refusal_of_request(db, scope, request_id=calls[-1].request_id)
    assert found is not None
    assert [row.request_id for row in newest] == [call.request_id for call in reversed(calls[30:])]


def test_a_flood_is_written_by_its_newest_calls(
    runtime: Runtime, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "PAUSE_SECONDS", 30)
    key, _ = a_key(runtime.database, cast)
    log = RefusalLog(runtime)
    caller = Caller(key.id, Scope(cast.project_id, Mode.TEST), START, START)
    route = CallRoute("POST", "/v1/access/check", KeyScope.READ)
    log.note(caller, route, new_id("req"), status=400, code="invalid_json")
    wait_for(runtime.database, 1)
    ids = [new_id("req") for _ in range(5000)]
    for request_id in ids:
        log.note(caller, route, request_id, status=400, code="invalid_json")
    runtime.database._before_close[-1]()
    rows = kept(runtime.database)
    assert {row.request_id for row in rows} >= set(ids[-MOST_AT_ONCE:])
    assert len(rows) <= 2 * MOST_AT_ONCE + 1
