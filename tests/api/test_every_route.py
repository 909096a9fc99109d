"""Bad keys, methods, paths, bodies and fields on every route of `/v1` that takes an API key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.factory import create_app
from licenzy.kit import deadline
from licenzy.kit.ids import new_id
from licenzy.settings import Settings
from tests.api.bad_requests import BODIES, HEADERS, UNREADABLE_BODIES, bearer
from tests.support.cast import Cast, make_key, make_subject
from tests.support.clock import START, StandingClock
from tests.support.hotpath import LoopClient, compared_parts
from tests.support.purchases import make_entitlement
from tests.support.tokens import unknown_token

RESERVATION = f"/v1/usage/reservations/{new_id('rsv')}"
KEY = {"Idempotency-Key": "key-1"}


WRONG_VALUES: tuple[Any, ...] = (None, True, {}, [], [1], 1.5, "", "\u0000", -1)


@dataclass(frozen=True)
class Route:
    """One call as it is made rightly, as far as its form goes."""

    rule: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    takes_nothing: bool = False
    """Whether the body may be left out."""

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"

    def call(self, client: FlaskClient, token: str | None, **changes: Any) -> Any:
        sent: dict[str, Any] = {"headers": self.headers | (bearer(token) if token else {})}
        if self.body is not None:
            sent["json"] = self.body
        headers = sent["headers"] | changes.pop("headers", {})
        if "data" in changes:
            sent.pop("json", None)
        method = changes.pop("method", self.method)
        return client.open(
            changes.pop("path", self.path), method=method, **(sent | changes | {"headers": headers})
        )


REF = {"subject_ref": "u"}
TABLE = [
    Route("/v1/access/check", "POST", "/v1/access/check", REF),
    Route("/v1/access/check-batch", "POST", "/v1/access/check-batch", {"subject_refs": ["u"]}),
    Route("/v1/usage/consume", "POST", "/v1/usage/consume", {**REF, "units": 1}, KEY),
    Route("/v1/usage/reserve", "POST", "/v1/usage/reserve", {**REF, "units": 1, "ttl_seconds": 1}, KEY),
    Route("/v1/usage/reservations/<reservation_id>/commit", "POST", f"{RESERVATION}/commit", {"units": 1}),
    Route(
        "/v1/usage/reservations/<reservation_id>/release",
        "POST",
        f"{RESERVATION}/release",
        {},
        takes_nothing=True,
    ),
    Route("/v1/checkout/session", "POST", "/v1/checkout/session", {**REF, "product_code": "PRO"}, KEY),
    Route("/v1/billing/portal-session", "POST", "/v1/billing/portal-session", REF),
    Route("/v1/customer/access/<ref:subject_ref>", "GET", "/v1/customer/access/u"),
    Route("/v1/entitlements/<ref:subject_ref>", "GET", "/v1/entitlements/u"),
    Route("/v1/audit", "GET", "/v1/audit"),
]
POSTS = [route for route in TABLE if route.method == "POST"]
KEYED = [route for route in TABLE if route.headers]
OF_A_SUBJECT = [route for route in POSTS if "subject_ref" in (route.body or {})]

every_route = pytest.mark.parametrize("route", TABLE, ids=str)
every_post = pytest.mark.parametrize("route", POSTS, ids=str)


@pytest.fixture
def token(database: Database, cast: Cast) -> str:
    with database.write() as db:
        return make_key(db, project_id=cast.project_id, scopes="runtime audit")[1]


def refusal_of(answer: Any) -> tuple[int, str]:
    """Status and code of a refusal, which is in the one shape of all refusals."""
    body = answer.get_json()
    assert {"error", "message", "hint", "mode", "request_id"} <= set(body)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Licenzy-Request-Id"] == body["request_id"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    return answer.status_code, body["error"]


def test_the_table_has_every_route(app: Flask) -> None:
    """Webhooks are Stripe's and signed; what describes the API needs no key."""
    routes = {
        (rule.rule, method)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/") and not rule.rule.startswith(("/v1/webhooks", "/v1/openapi"))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes == {(route.rule, route.method) for route in TABLE}


def test_what_is_answered_on_the_loop_is_what_its_route_answers(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    """Both run the same function; what Flask would do around it must make no difference."""
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="u")
        make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, ends_at=None, granted_units=10**6)
    loop = LoopClient(app)
    consume = next(route for route in TABLE if route.path == "/v1/usage/consume")
    good = bearer(token)
    requests: dict[str, dict[str, Any]] = {
        name: {"json": consume.body, "headers": headers} for name, headers, _ in HEADERS
    }
    requests |= {
        name: {"data": body, "content_type": kind, "headers": good | KEY} for name, body, kind, _, _ in BODIES
    }
    requests |= {
        f"units {units!r}": {
            "json": REF | {"units": units},
            "headers": good | {"Idempotency-Key": f"key-{units!r}"},
        }
        for units in (0, -1, 1.0, 1.5, "1", True, None, [1], 10**9 + 1, 2**31, 2**63, 2**64, 1, 10**6)
    }
    requests |= {
        f"Idempotency-Key {key!r}": {
            "json": REF | {"units": 1},
            "headers": good | {"Idempotency-Key": key},
        }
        for key in ("", "é" * 3, "k" * 256)
    }
    requests["no Idempotency-Key"] = {"json": REF | {"units": 1}, "headers": good}
    left_to_flask = set()
    for name, request in requests.items():
        answers = []
        # The second of two calls under one key is a replay, so each way answers first once.
        for ways in ((client, loop), (loop, client)):
            for way in ways:
                answer = way.post(consume.path, **request)
                if answer is None:
                    left_to_flask.add(name)
                else:
                    answers.append(compared_parts(answer))
        assert all(each == answers[0] for each in answers), name
    # The front refuses large bodies before the loop.
    assert left_to_flask == {"body too large", "Stripe price as product_code"}


@every_route
def test_bad_keys_are_refused(client: FlaskClient, cast: Cast, route: Route) -> None:
    for name, headers, code in HEADERS:
        answer = route.call(client, None, headers=headers)
        assert refusal_of(answer) == (401, code), name
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.get_json()["mode"] is None
        assert "Licenzy-Mode" not in answer.headers
    in_the_query_string = route.call(client, None, query_string={"api_key": unknown_token()})
    assert refusal_of(in_the_query_string) == (401, "api_key_missing")


@every_route
def test_ended_keys_are_refused(client: FlaskClient, database: Database, cast: Cast, route: Route) -> None:
    for column, code in (("revoked_at", "api_key_revoked"), ("expires_at", "api_key_expired")):
        ended: dict[str, Any] = {column: START}
        with database.write() as db:
            token = make_key(db, project_id=cast.project_id, **ended)[1]
        for _ in range(2):
            assert refusal_of(route.call(client, token)) == (401, code)


@every_route
def test_what_is_wrong_with_the_key_comes_first(client: FlaskClient, cast: Cast, route: Route) -> None:
    if route.method == "POST":
        unknown = unknown_token()
        answer = route.call(
            client, unknown, data=b"{", content_type="text/plain", headers={"Idempotency-Key": ""}
        )
        assert refusal_of(answer) == (401, "api_key_invalid")


@every_route
def test_other_methods_and_addresses(client: FlaskClient, token: str, route: Route) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {route.method}:
        answer = route.call(client, token, method=method)
        assert refusal_of(answer) == (405, "method_not_allowed"), method
        assert route.method in answer.headers["Allow"]
    override = {"X-HTTP-Method-Override": route.method}
    assert refusal_of(route.call(client, token, method="PUT", headers=override)) == (
        405,
        "method_not_allowed",
    )
    paths = ["/" + route.path, route.path.replace("/v1/", "/v1//", 1)]
    if route.method == "POST":
        paths.append(route.path + "/")
    for path in paths:
        answer = client.open(
            method=route.method, headers=bearer(token), environ_overrides={"PATH_INFO": path}
        )
        assert refusal_of(answer) == (404, "not_found"), path


def test_the_prefix_in_another_case_is_no_page(client: FlaskClient, token: str) -> None:
    known = [(route.method, route.path) for route in TABLE]
    unknown = [(method, path) for method in ("GET", "POST", "PUT") for path in ("/v1", "/v1/", "/v1/nothing")]
    webhooks = [("POST", "/v1/webhooks/stripe/tenant"), ("GET", "/v1/openapi.json")]
    for method, path in [*known, *unknown, *webhooks]:
        for headers in ({}, bearer(token)):
            answer = client.open(path.replace("/v1", "/V1"), method=method, headers=headers)
            assert refusal_of(answer) == (404, "not_found"), (method, path)


@every_post
def test_bad_bodies_are_refused(client: FlaskClient, token: str, route: Route) -> None:
    for name, body, kind, status, code in UNREADABLE_BODIES:
        if route.takes_nothing and not body:
            continue
        assert refusal_of(route.call(client, token, data=body, content_type=kind)) == (status, code), name
    chunked = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    answer = client.post(route.path, headers={**route.headers, **bearer(token), **chunked})
    if not route.takes_nothing:
        assert refusal_of(answer) == (413, "payload_too_large")


@every_post
def test_bad_fields_are_refused(client: FlaskClient, token: str, route: Route) -> None:
    body = route.body or {}
    for name, code in (("colour", "unknown_field"), ("meter", "unknown_field"), ("mode", "mode_not_allowed")):
        answer = route.call(client, token, json={**body, name: "x"})
        assert refusal_of(answer) == (400, code)
        assert set(answer.get_json()["fields"]) == {name}
    for name in body:
        without = {each: value for each, value in body.items() if each != name}
        answer = route.call(client, token, json=without)
        assert refusal_of(answer) == (400, "invalid_request")
        assert answer.get_json()["fields"] == {name: "is required"}
    for name in body:
        for wrong in WRONG_VALUES:
            answer = route.call(client, token, json={**body, name: wrong})
            assert refusal_of(answer) == (400, "invalid_request"), (name, wrong)
            assert set(answer.get_json()["fields"]) == {name}


REFS = [
    "\ud800",
    "a\x00b",
    "a\x1fb",
    "a\x85b",
    "a\u2028b",
    "a\u2029b",
    "a\u202eb",
    "a\u2066b",
    "   ",
    "u" * 201,
]


@pytest.mark.parametrize("route", OF_A_SUBJECT, ids=str)
def test_bad_refs_are_refused(client: FlaskClient, token: str, route: Route) -> None:
    for ref in REFS:
        answer = route.call(client, token, json={**(route.body or {}), "subject_ref": ref})
        assert refusal_of(answer) == (400, "invalid_request"), repr(ref)
        assert set(answer.get_json()["fields"]) == {"subject_ref"}


@pytest.mark.parametrize("route", KEYED, ids=str)
def test_bad_idempotency_keys_are_refused(client: FlaskClient, token: str, route: Route) -> None:
    plain = replace(route, headers={})
    assert refusal_of(plain.call(client, token)) == (400, "idempotency_key_missing")
    for wrong in ("", "k" * 256, "clé", "a\tb", "a\x7fb", "k,k", "a, b", ","):
        answer = plain.call(client, token, headers={"Idempotency-Key": wrong})
        assert refusal_of(answer) == (400, "idempotency_key_invalid"), repr(wrong)
    for other in ("k", "l"):
        twice = [("Idempotency-Key", "k"), ("idempotency-key", other), *bearer(token).items()]
        answer = client.open(route.path, method=route.method, json=route.body, headers=twice)
        assert refusal_of(answer) == (400, "idempotency_key_invalid")
    for good in ("k" * 255, "a b", "~!@#"):
        answer = plain.call(client, token, headers={"Idempotency-Key": good})
        assert answer.get_json().get("error") not in {"idempotency_key_invalid", "idempotency_key_missing"}


def test_the_fields_are_checked_before_the_idempotency_key(client: FlaskClient, token: str) -> None:
    for route in KEYED:
        answer = replace(route, headers={}).call(client, token, json={})
        assert refusal_of(answer) == (400, "invalid_request")


@pytest.fixture
def slow_down(settings: Settings, clock: StandingClock) -> Iterator[Flask]:
    """The product with a limit of one call a second, bursts of two."""
    application = create_app(replace(settings, rate_limit=1), clock=clock)
    yield application
    application.extensions["licenzy"].database.close()


def test_too_many_calls_are_refused_with_retry_after(
    slow_down: Flask, database: Database, cast: Cast
) -> None:
    for route in TABLE:
        with database.write() as db:
            token = make_key(db, project_id=cast.project_id, scopes="runtime audit")[1]
        answers = [route.call(slow_down.test_client(), token) for _ in range(4)]
        assert refusal_of(answers[-1]) == (429, "rate_limited"), str(route)
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert answers[-1].headers["Licenzy-Mode"] == answers[-1].get_json()["mode"] == "test"


def test_a_refused_body_is_one_call(slow_down: Flask, database: Database, cast: Cast) -> None:
    """Two calls make the burst, whatever is wrong with them."""
    for route in POSTS:
        with database.write() as db:
            token = make_key(db, project_id=cast.project_id)[1]
        answers = [route.call(slow_down.test_client(), token, json={"x": 1}) for _ in range(3)]
        assert [refusal_of(each)[0] for each in answers] == [400, 400, 429], str(route)


def test_the_other_mode_and_other_projects_are_not_there(
    client: FlaskClient, database: Database, cast: Cast
) -> None:
    """A key of another side finds nobody: every call is answered as for a subject that nobody has."""
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="u")
        make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, ends_at=None, granted_units=5)
        foreign = [
            make_key(db, project_id=cast.project_id, mode=Mode.LIVE)[1],
            make_key(db, project_id=cast.stranger.project_id)[1],
        ]
    consume, batch = TABLE[2], TABLE[1]
    for token in foreign:
        answer = consume.call(client, token)
        assert refusal_of(answer) == (409, "insufficient_usage")
        assert answer.get_json()["usage_remaining"] == 0
        assert batch.call(client, token).get_json() == {"results": [{"subject_ref": "u", "allowed": False}]}
        for number, route in enumerate(route for route in TABLE if route.rule != "/v1/audit"):
            told = []
            for ref in ("u", "w"):
                key = {"Idempotency-Key": f"{ref}-{number}"} if route.headers else {}
                path = route.path.removesuffix("/u") + (f"/{ref}" if route.path.endswith("/u") else "")
                named = {"subject_ref": ref, "subject_refs": [ref]}
                body = {name: named.get(name, value) for name, value in (route.body or {}).items()}
                answer = route.call(client, token, path=path, headers=key, json=body if route.body else None)
                answered = {**answer.get_json(), "request_id": ""}
                told.append((answer.status_code, str(answered).replace(f"'{ref}'", "''")))
            assert told[0] == told[1], str(route)


@every_route
def test_an_unexpected_failure_shows_only_its_request_id(
    app: Flask, client: FlaskClient, token: str, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("a secret of ours")

    for name in ("authenticate", "presented"):
        monkeypatch.setattr(f"licenzy.api.request.ApiRequest.{name}", breaks)
    answer = route.call(client, token)
    assert refusal_of(answer) == (500, "internal_error")
    assert "secret of ours" not in answer.text


WRITES = [route for route in KEYED if route.rule.startswith("/v1/usage")]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("route", WRITES, ids=str)
def test_a_busy_sqlite_is_reported_and_stores_nothing(
    client: FlaskClient, database: Database, token: str, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert route.call(client, token, headers={"Idempotency-Key": "before"}).status_code == 409
    monkeypatch.setattr(deadline, "CALL_SECONDS", 0.2)
    with database.write():
        answer = route.call(client, token)
    assert refusal_of(answer) == (503, "database_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert refusal_of(route.call(client, token, json={**(route.body or {}), "units": 2})) == (
        409,
        "insufficient_usage",
    )


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_row_that_stays_locked_is_reported(
    client: FlaskClient, database: Database, cast: Cast, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "CALL_SECONDS", 0.2)
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="u")
        pack = make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, ends_at=None, granted_units=5)
    consume = TABLE[2]
    with database.write() as db:
        db.add(pack)
        pack.granted_units = 6
        db.flush()
        assert refusal_of(consume.call(client, token)) == (503, "database_unavailable")
    assert consume.call(client, token).get_json() == {"ok": True, "consumed": 1, "usage_remaining": 5}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_cannot_be_read_is_never_a_yes(
    client: FlaskClient, database: Database, settings: Settings, token: str
) -> None:
    database.engine.dispose()
    for path in settings.instance.glob("licenzy.sqlite3*"):
        path.unlink()
    Path(settings.instance / "licenzy.sqlite3").write_bytes(b"no database" * 1000)
    for route in TABLE:
        answer = route.call(client, token)
        assert refusal_of(answer) == (503, "database_unavailable"), str(route)
        assert "allowed" not in answer.text
