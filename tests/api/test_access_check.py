"""`POST /v1/access/check`: who is allowed, what is refused, and the same answers on the event loop."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import ApiKey
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement, State
from tests.api.bad_requests import BODIES, HEADERS, bearer
from tests.support.cast import Cast, make_key, make_subject
from tests.support.clock import START, StandingClock
from tests.support.hotpath import LoopClient, compared_parts
from tests.support.ports import wait_until
from tests.support.purchases import make_entitlement
from tests.support.tokens import unknown_token

CHECK = "/v1/access/check"


@pytest.fixture
def token(database: Database, cast: Cast) -> str:
    """A test key of the owner's project."""
    with database.write() as db:
        return make_key(db, project_id=cast.project_id)[1]


def check(client: FlaskClient, token: str, subject_ref: str = "user_123", **more: Any) -> Any:
    return client.post(CHECK, json={"subject_ref": subject_ref, **more}, headers=bearer(token))


def grant(
    database: Database, cast: Cast, *, ref: str = "user_123", mode: Mode = Mode.TEST, **columns: Any
) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, mode=mode, subject_ref=ref)
        make_entitlement(db, subject=subject, **columns)


def test_allowed_and_not(client: FlaskClient, database: Database, cast: Cast, token: str) -> None:
    grant(database, cast)
    allowed = check(client, token)
    assert allowed.status_code == 200
    assert allowed.get_json() == {"subject_ref": "user_123", "allowed": True}
    assert allowed.headers["Licenzy-Mode"] == "test"
    assert allowed.headers["Licenzy-Request-Id"].startswith("req_")
    assert allowed.headers["Content-Type"] == "application/json; charset=utf-8"
    assert check(client, token, "somebody else").get_json()["allowed"] is False


def test_the_other_mode_and_the_other_project_see_nothing(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    grant(database, cast)
    with database.write() as db:
        live = make_key(db, project_id=cast.project_id, mode=Mode.LIVE)[1]
        theirs = make_key(db, project_id=cast.stranger.project_id)[1]
    assert check(client, token).get_json()["allowed"] is True
    for foreign in (live, theirs):
        granted, unknown = check(client, foreign), check(client, foreign, "never seen")
        assert granted.get_json() == {"subject_ref": "user_123", "allowed": False}
        assert unknown.get_json()["allowed"] is False


def test_access_ends_exactly_at_ends_at(
    client: FlaskClient, database: Database, cast: Cast, token: str, clock: StandingClock
) -> None:
    end = START + timedelta(days=1)
    grant(database, cast, kind=Kind.TIME_PASS, ends_at=end)
    clock.now = end - timedelta(milliseconds=1)
    assert check(client, token).get_json()["allowed"] is True
    clock.now = end
    assert check(client, token).get_json()["allowed"] is False


def test_narrowing(client: FlaskClient, database: Database, cast: Cast, token: str) -> None:
    grant(database, cast, features=["export"])
    assert check(client, token, product_code="PRO_MONTHLY").get_json()["allowed"] is True
    assert check(client, token, product_code="OTHER").get_json()["allowed"] is False
    assert check(client, token, feature="export").get_json()["allowed"] is True
    assert check(client, token, feature="import").get_json()["allowed"] is False


def test_a_spent_pack_does_not_allow(client: FlaskClient, database: Database, cast: Cast, token: str) -> None:
    grant(database, cast, kind=Kind.USAGE_PACK, ends_at=None, granted_units=10, used_units=9)
    assert check(client, token).get_json()["allowed"] is True
    with database.write() as db:
        row = db.exec(select(Entitlement)).one()
        row.used_units = 10
    assert check(client, token).get_json()["allowed"] is False


@pytest.mark.parametrize("state", [State.CANCELED, State.PAUSED, State.SUSPENDED])
def test_states_that_do_not_allow(
    client: FlaskClient, database: Database, cast: Cast, token: str, state: State
) -> None:
    grant(database, cast, state=state)
    assert check(client, token).get_json()["allowed"] is False


def test_refs_are_compared_byte_for_byte(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    grant(database, cast, ref="Jos\u00e9 ★ 🦊")
    assert check(client, token, "Jos\u00e9 ★ 🦊").get_json()["allowed"] is True
    for variant in ("jos\u00e9 ★ 🦊", "Jose\u0301 ★ 🦊", "Jos\u00e9 ★ 🦊 ", "ＪOS\u00c9 ★ 🦊"):
        assert check(client, token, variant).get_json()["allowed"] is False


@pytest.mark.parametrize("ref", ["../../", "%2e%2e", "' OR 1=1--", "{{7*7}}", "<script>"])
def test_hostile_refs_are_only_unknown(client: FlaskClient, token: str, cast: Cast, ref: str) -> None:
    assert check(client, token, ref).get_json() == {"subject_ref": ref, "allowed": False}


@pytest.mark.parametrize(("headers", "code"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_bad_keys_are_refused(client: FlaskClient, cast: Cast, headers: dict[str, str], code: str) -> None:
    answer = client.post(CHECK, json={"subject_ref": "u"}, headers=headers)
    assert (answer.status_code, answer.get_json()["error"]) == (401, code)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.get_json()["mode"] is None
    assert "Licenzy-Mode" not in answer.headers


def test_unknown_and_mistyped_keys_are_answered_alike(client: FlaskClient, cast: Cast) -> None:
    bodies = []
    for wrong in (unknown_token(), unknown_token()[:-1] + "_"):
        body = check(client, wrong).get_json()
        body.pop("request_id")
        bodies.append(body)
    assert bodies[0] == bodies[1]


def test_a_key_in_the_query_string_is_ignored(client: FlaskClient, token: str) -> None:
    answer = client.post(f"{CHECK}?api_key={token}", json={"subject_ref": "u"})
    assert answer.get_json()["error"] == "api_key_missing"


@pytest.mark.parametrize(
    ("column", "code"), [("revoked_at", "api_key_revoked"), ("expires_at", "api_key_expired")]
)
def test_ended_keys_are_refused(
    client: FlaskClient, database: Database, cast: Cast, column: str, code: str
) -> None:
    ended: dict[str, Any] = {column: START}
    with database.write() as db:
        token = make_key(db, project_id=cast.project_id, **ended)[1]
    answer = check(client, token)
    assert (answer.status_code, answer.get_json()["error"]) == (401, code)


def test_revocation_shows_in_the_next_answer(client: FlaskClient, database: Database, cast: Cast) -> None:
    with database.write() as db:
        key, token = make_key(db, project_id=cast.project_id)
    assert check(client, token).status_code == 200
    with database.write() as db:
        db.add(key)
        key.revoked_at = START
    assert check(client, token).get_json()["error"] == "api_key_revoked"


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"), [r[1:] for r in BODIES], ids=[r[0] for r in BODIES]
)
def test_bad_bodies_are_refused(
    client: FlaskClient, token: str, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = client.post(CHECK, data=body, content_type=kind, headers=bearer(token))
    refusal = answer.get_json()
    assert (answer.status_code, refusal["error"]) == (status, code)
    assert {"error", "message", "hint", "mode", "request_id"} <= set(refusal)
    without_key = client.post(CHECK, data=body, content_type=kind)
    if status == 413:
        # The size is checked before the key is read, so the refusal has no mode and needs no key.
        assert (refusal["mode"], without_key.status_code) == (None, 413)
    else:
        assert (refusal["mode"], without_key.status_code) == ("test", 401)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", CHECK), ("POST", "/v1/nope"), ("GET", "/v1/openapi.json")]
)
def test_the_size_is_checked_before_route_and_method(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(path, method=method, data=b"x" * 70_000)
    assert (answer.status_code, answer.get_json()["error"]) == (413, "payload_too_large")


@pytest.mark.parametrize("kind", ["application/json", 'Application/JSON; charset="UTF-8"'])
def test_accepted_content_types(client: FlaskClient, token: str, kind: str) -> None:
    answer = client.post(CHECK, data=b'{"subject_ref":"u"}', content_type=kind, headers=bearer(token))
    assert answer.status_code == 200


def test_a_chunked_body_is_refused(client: FlaskClient, token: str) -> None:
    answer = client.post(
        CHECK,
        headers={**bearer(token), "Transfer-Encoding": "chunked", "Content-Type": "application/json"},
    )
    # A chunked body has no Content-Length, so its size is not known before it is read.
    assert answer.get_json()["error"] == "payload_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", CHECK, 405, "method_not_allowed"),
        ("PUT", CHECK, 405, "method_not_allowed"),
        ("OPTIONS", CHECK, 405, "method_not_allowed"),
        ("POST", CHECK + "/", 404, "not_found"),
        ("POST", "//v1/access/check", 404, "not_found"),
        ("POST", "/v1//access/check", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
    ],
)
def test_wrong_addresses(
    client: FlaskClient, token: str, method: str, path: str, status: int, code: str
) -> None:
    answer = client.open(method=method, headers=bearer(token), environ_overrides={"PATH_INFO": path})
    assert (answer.status_code, answer.get_json()["error"]) == (status, code)
    if status == 405:
        assert answer.headers["Allow"] == "POST"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_method_overrides_are_ignored(client: FlaskClient, token: str) -> None:
    answer = client.get(CHECK, headers={**bearer(token), "X-HTTP-Method-Override": "POST"})
    assert answer.status_code == 405


def test_the_last_use_of_a_key_is_written_in_the_background(
    client: FlaskClient, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        key, token = make_key(db, project_id=cast.project_id)

    def last_used() -> datetime | None:
        with database.read() as db:
            return db.exec(select(ApiKey.last_used_at).where(ApiKey.id == key.id)).one()

    assert last_used() is None
    assert check(client, token).status_code == 200
    wait_until(lambda: last_used() == START, seconds=10, what="the key's last use is written")


def test_the_loop_answers_as_the_route_does(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    """Both run the same function; what Flask would do around it must make no difference."""
    grant(database, cast, features=["export"])
    loop = LoopClient(app)
    requests: dict[str, dict[str, Any]] = {
        f"{ref} {narrowed}": {"json": {"subject_ref": ref, **narrowed}, "headers": bearer(token)}
        for ref in ("user_123", "nobody")
        for narrowed in ({}, {"feature": "export"}, {"feature": "import"}, {"product_code": "PRO_MONTHLY"})
    }
    requests |= {name: {"json": {"subject_ref": "u"}, "headers": headers} for name, headers, _ in HEADERS}
    requests |= {
        name: {"data": body, "content_type": kind, "headers": bearer(token)}
        for name, body, kind, _, _ in BODIES
    }
    left_to_flask = set()
    for name, request in requests.items():
        by_flask, on_loop = client.post(CHECK, **request), loop.post(CHECK, **request)
        if on_loop is None:
            left_to_flask.add(name)
        else:
            assert compared_parts(on_loop) == compared_parts(by_flask), name
    # The front refuses large bodies before the loop; the hint about a price is read from the database.
    assert left_to_flask == {"body too large", "Stripe price as product_code"}


def test_the_loop_leaves_explain_to_flask(app: Flask, database: Database, cast: Cast, token: str) -> None:
    grant(database, cast)
    request: dict[str, Any] = {"json": {"subject_ref": "user_123"}, "headers": bearer(token)}
    assert LoopClient(app).post(CHECK, **request) is not None
    assert LoopClient(app).post(CHECK, **request, query_string="explain=true") is None
