"""Limits and the default product in the calls of the API: the same answers in the routes and on the loop."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.catalog.rules import LIMIT_VALUE_MAX
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import OVERRIDE
from licenzy.subjects.models import Subject
from tests.api.bad_requests import bearer
from tests.support.cast import Cast, make_key, make_product, make_subject
from tests.support.hotpath import LoopClient, compared_parts
from tests.support.purchases import make_entitlement

CHECK, BATCH = "/v1/access/check", "/v1/access/check-batch"


@pytest.fixture
def token(database: Database, cast: Cast) -> str:
    with database.write() as db:
        return make_key(db, project_id=cast.project_id)[1]


@pytest.fixture
def subject(database: Database, cast: Cast) -> Subject:
    """Who has 10 projects, and 5 more for each of two add-ons."""
    with database.write() as db:
        make_product(db, project_id=cast.project_id, limits={"projects": 10, "seats": None})
        subject = make_subject(db, project_id=cast.project_id)
        make_entitlement(db, subject=subject, limits={"projects": 10})
        extra: dict[str, Any] = {"limits": {"projects": 5}, "adds": True, "quantity": 2}
        make_entitlement(db, subject=subject, product_code="EXTRA", **extra)
    return subject


def make_default(database: Database, cast: Cast, **columns: Any) -> None:
    terms: dict[str, Any] = {"features": ["read"], "limits": {"projects": 1}, **columns}
    with database.write() as db:
        make_product(
            db, project_id=cast.project_id, product_code="FREE", kind=Kind.FREE, is_default=True, **terms
        )


def post(client: FlaskClient, token: str, path: str = CHECK, **body: Any) -> Any:
    given = {"subject_ref": "user_123"} if path == CHECK else {"subject_refs": ["user_123", "nobody"]}
    return client.post(path, json={**given, **body}, headers=bearer(token))


def allowed(client: FlaskClient, token: str, **body: Any) -> bool:
    answer = post(client, token, **body)
    assert answer.status_code == 200, answer.get_json()
    return bool(answer.get_json()["allowed"])


def test_one_more_is_allowed_below_the_limit(client: FlaskClient, token: str, subject: Subject) -> None:
    assert allowed(client, token, limit="projects", value=19)
    assert not allowed(client, token, limit="projects", value=20)
    assert not allowed(client, token, limit="seats", value=0), "a product has it, and not this subject"
    told = post(client, token, BATCH, limit="projects", value=19).get_json()
    assert told == {
        "results": [{"subject_ref": "user_123", "allowed": True}, {"subject_ref": "nobody", "allowed": False}]
    }


def test_large_limits_of_many_are_still_answered(
    client: FlaskClient, database: Database, token: str, subject: Subject
) -> None:
    with database.write() as db:
        huge: dict[str, Any] = {"limits": {"projects": LIMIT_VALUE_MAX}, "adds": True, "quantity": 999_999}
        make_entitlement(db, subject=subject, product_code="HUGE", **huge)
    answer = client.get("/v1/customer/access/user_123", headers=bearer(token))
    assert answer.status_code == 200
    assert answer.get_json()["limits"] == {"projects": LIMIT_VALUE_MAX}


@pytest.mark.parametrize("path", [CHECK, CHECK + "?explain=true", BATCH])
def test_a_limit_that_no_product_has(client: FlaskClient, token: str, subject: Subject, path: str) -> None:
    given: dict[str, Any] = {"subject_refs": ["user_123"]} if path == BATCH else {"subject_ref": "user_123"}
    answer = client.post(path, json={**given, "limit": "project", "value": 1}, headers=bearer(token))
    assert (answer.status_code, answer.get_json()["error"]) == (404, "limit_not_found")
    assert answer.get_json()["limits"] == ["projects", "seats"]


@pytest.mark.parametrize("path", [CHECK, BATCH])
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"limit": "projects"}, {"value"}),
        ({"value": 1}, {"limit"}),
        ({"limit": "projects", "value": 1, "feature": "export"}, {"limit"}),
        ({"limit": "projects", "value": -1}, {"value"}),
        ({"limit": "projects", "value": 1.0}, {"value"}),
        ({"limit": "projects", "value": True}, {"value"}),
        ({"limit": "projects", "value": None}, {"value"}),
        ({"limit": "a b", "value": 1}, {"limit"}),
        ({"limit": "projects", "value": 2**53}, {"value"}),
    ],
)
def test_what_is_asked_for_is_one_thing(
    app: Flask, client: FlaskClient, token: str, path: str, body: dict[str, Any], fields: set[str]
) -> None:
    answer = post(client, token, path, **body)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_request")
    assert set(answer.get_json()["fields"]) == fields
    if path == CHECK:
        on_the_loop = post(LoopClient(app), token, **body)  # type: ignore[arg-type]
        assert compared_parts(on_the_loop) == compared_parts(answer)


ASKED: list[dict[str, Any]] = [
    {},
    {"feature": "read"},
    {"feature": "write"},
    {"limit": "projects", "value": 0},
    {"limit": "projects", "value": 19},
    {"limit": "projects", "value": 20},
    {"limit": "projects", "value": 4, "product_code": "PRO_MONTHLY"},
    {"product_code": "FREE"},
]


@pytest.mark.parametrize("ref", ["user_123", "nobody"])
@pytest.mark.parametrize("grants_access", [None, False, True])
def test_one_statement_answers_on_the_loop_as_in_the_route(
    app: Flask,
    client: FlaskClient,
    database: Database,
    cast: Cast,
    token: str,
    subject: Subject,
    grants_access: bool | None,
    ref: str,
) -> None:
    if grants_access is not None:
        make_default(database, cast, grants_access=grants_access)
    post(client, token)  # Notes that the key was used.
    statements: list[str] = []
    loop: Any = LoopClient(app)
    with_events = app.extensions["licenzy"].database.engine

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "FROM api_keys" in statement:
            statements.append(statement)

    event.listen(with_events, "before_cursor_execute", note)
    for asked in ASKED:
        statements.clear()
        answer = post(client, token, subject_ref=ref, **asked)
        assert answer.status_code == 200, answer.get_json()
        assert len(statements) == 1
        on_the_loop = post(loop, token, subject_ref=ref, **asked)
        if on_the_loop is None:  # Nothing that "nobody" has names the limit: a thread looks it up.
            assert ref == "nobody"
            assert grants_access is None
            assert "limit" in asked
        else:
            assert compared_parts(on_the_loop) == compared_parts(answer)
    event.remove(with_events, "before_cursor_execute", note)


def test_the_default_product(
    client: FlaskClient, database: Database, cast: Cast, token: str, subject: Subject
) -> None:
    make_default(database, cast)
    nobody = {"subject_ref": "nobody"}
    assert not allowed(client, token, **nobody)
    assert allowed(client, token, **nobody, feature="read")
    assert allowed(client, token, **nobody, limit="projects", value=0)
    assert not allowed(client, token, **nobody, limit="projects", value=1)
    assert not allowed(client, token, feature="read"), "a subscription hides it"
    with database.read() as db:
        assert db.get(Subject, (cast.project_id, Mode.TEST, "nobody")) is None
    told = client.get("/v1/customer/access/nobody", headers=bearer(token)).get_json()
    assert told == {
        "subject_ref": "nobody",
        "has_access": False,
        "status": "none",
        "entitlements": [],
        "features": ["read"],
        "limits": {"projects": 1},
        "default_product": "FREE",
        "balances": {},
    }
    known = client.get("/v1/customer/access/user_123", headers=bearer(token)).get_json()
    assert (known["limits"], known["default_product"]) == ({"projects": 20}, None)
    assert client.get("/v1/entitlements/nobody", headers=bearer(token)).get_json()["entitlements"] == []


def test_the_default_product_may_give_access(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    make_default(database, cast, grants_access=True)
    assert allowed(client, token)
    assert allowed(client, token, product_code="FREE")
    assert not allowed(client, token, product_code="PRO_MONTHLY")
    assert post(client, token, BATCH).get_json()["results"][1]["allowed"] is True
    assert client.get("/v1/customer/access/u", headers=bearer(token)).get_json()["has_access"] is True


def test_of_another_side_it_is_nobodys(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    with database.write() as db:
        for project_id, mode in ((cast.project_id, Mode.LIVE), (cast.stranger.project_id, Mode.TEST)):
            make_product(
                db, project_id=project_id, mode=mode, product_code="FREE", kind=Kind.FREE, is_default=True,
                grants_access=True, features=["read"],
            )  # fmt: skip
    assert not allowed(client, token)
    assert not allowed(client, token, feature="read")
    told = client.post(f"{CHECK}?explain=true", json={"subject_ref": "u"}, headers=bearer(token)).get_json()
    assert told["explain"]["reason"] == "no_entitlement", "what everybody has there is no hint"


def test_explain_names_what_decided(
    client: FlaskClient, database: Database, cast: Cast, token: str, subject: Subject
) -> None:
    make_default(database, cast)
    with database.write() as db:
        make_entitlement(
            db, subject=subject, product_code="", kind=Kind.FREE, source=OVERRIDE, features=["beta"]
        )

    def explain(ref: str = "user_123", **asked: Any) -> Any:
        body = {"subject_ref": ref, **asked}
        return client.post(f"{CHECK}?explain=true", json=body, headers=bearer(token)).get_json()["explain"]

    reached = explain(limit="projects", value=20)
    assert (reached["reason"], reached["limit"]) == ("limit_reached", {"code": "projects", "value": 20})
    assert reached["entitlement"]["product_code"] == "PRO_MONTHLY"
    assert "default_product" not in reached
    by_hand = explain(feature="beta")
    assert by_hand["override"] == {
        "feature": "beta", "limit": None, "value": None, "valid_until": "2026-12-23T09:30:00Z",
    }  # fmt: skip
    assert by_hand["entitlement"] is None
    assert explain("nobody") == {
        "reason": "no_entitlement", "entitlement": None, "default_product": "FREE", "facts": [],
    }  # fmt: skip
    limited = explain("nobody", limit="projects", value=1)
    assert (limited["reason"], limited["default_product"]) == ("limit_reached", "FREE")
    assert limited["limit"] == {"code": "projects", "value": 1}


def test_an_override_is_no_entitlement(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        made: dict[str, Any] = {"product_code": "", "kind": Kind.FREE, "source": OVERRIDE}
        make_entitlement(db, subject=subject, features=["beta"], **made)
        make_entitlement(db, subject=subject, limits={"projects": 4}, **made)
    assert not allowed(client, token)
    assert allowed(client, token, feature="beta")
    assert allowed(client, token, limit="projects", value=3)
    assert not allowed(client, token, limit="projects", value=4)
    told = client.get("/v1/customer/access/user_123", headers=bearer(token)).get_json()
    assert (told["has_access"], told["status"], told["entitlements"]) == (False, "none", [])
    assert (told["features"], told["limits"]) == (["beta"], {"projects": 4})
    assert client.get("/v1/entitlements/user_123", headers=bearer(token)).get_json()["entitlements"] == []


def test_a_free_product_is_not_for_sale(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    make_default(database, cast)
    answer = client.post(
        "/v1/checkout/session",
        json={"subject_ref": "u", "product_code": "FREE"},
        headers={**bearer(token), "Idempotency-Key": "k"},
    )
    assert (answer.status_code, answer.get_json()["error"]) == (409, "product_not_for_sale")
