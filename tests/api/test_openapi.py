"""The description of the API: whole, valid, and true of what the API answers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from licenzy import errors
from licenzy.db.unit_of_work import Database
from tests.support.cast import WEBHOOK_SECRET, Cast, make_connection, make_key
from tests.support.described import Call, call_of, calls, resolved, validator
from tests.support.purchases import event, make_entitlement, signed
from tests.usage.buying import Customer, customer_with


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    told = answer.get_json()
    assert isinstance(told, dict)
    return told


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    return customer_with(database, cast)


def test_it_has_every_route_and_nothing_else(app: Flask, document: dict[str, Any]) -> None:
    routes = {
        (method, re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert len(routes) >= 13
    assert {(call.method, call.path) for call in calls(document)} == routes


def test_it_has_every_error_with_an_example(document: dict[str, Any]) -> None:
    table = {
        cls.code: str(cls.status)
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.LicenzyError)
    }
    assert document["components"]["schemas"]["Error"]["properties"]["error"]["enum"] == sorted(table)
    told = set()
    for call in calls(document):
        for status, response in call.operation["responses"].items():
            for code in response["content"]["application/json"].get("examples", {}):
                assert status in (table[code], "default")
                told.add(code)
    assert told == set(table)


def test_its_schemas_are_valid_and_its_examples_fit_them(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    held = 0
    for content in _contents(document):
        checks = validator(document, content["schema"])
        examples = [each["value"] for each in content.get("examples", {}).values()]
        for example in [*examples, *([content["example"]] if "example" in content else [])]:
            checks.validate(example)
            held += 1
    assert held > 100
    for told in document["components"]["parameters"].values():
        if "example" in told:
            validator(document, told["schema"]).validate(told["example"])
            assert told["example"].isascii(), "no header and no address carries anything else"
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))):
        assert resolved(document, {"$ref": reference})
    for call in calls(document):
        named = [resolved(document, told) for told in call.operation["parameters"]]
        in_path = {each["name"] for each in named if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", call.path))
    names = [call.operation["operationId"] for call in calls(document)]
    assert len(set(names)) == len(names)


def _contents(document: dict[str, Any]) -> list[dict[str, Any]]:
    told = []
    for call in calls(document):
        parts = [*call.operation["responses"].values(), call.operation.get("requestBody", {})]
        told += [part["content"]["application/json"] for part in parts if "content" in part]
    return told


EXAMPLES = {
    "check": 200, "check_batch": 200, "customer_access": 200, "entitlements": 200, "create_session": 404,
    "audit": 200, "portal_session": 404, "consume": 409, "reserve": 409, "commit": 404, "release": 404,
    "receive_for_connection": 400, "receive_for_tenant": 400, "openapi": 200,
}  # fmt: skip


def test_the_examples_are_taken_where_nothing_is_set_up(
    client: FlaskClient, customer: Customer, document: dict[str, Any]
) -> None:
    answered = {
        call.operation["operationId"]: call.send(client, customer.token).status_code
        for call in calls(document)
    }
    assert answered == EXAMPLES


def test_refusals_are_as_described(client: FlaskClient, customer: Customer, document: dict[str, Any]) -> None:
    told = set()
    for call in (call for call in calls(document) if call.operation["security"]):
        answers = [call.send(client), call.send(client, "sk_test_" + "a" * 24)]
        if "requestBody" in call.operation:
            answers += [
                call.send(client, customer.token, **changes) for changes in _wrong(call, customer.token)
            ]
        told |= {answer.get_json()["error"] for answer in answers}
    assert told >= {
        "api_key_missing", "stripe_key_sent", "invalid_json", "unknown_field", "mode_not_allowed",
        "unsupported_media_type", "payload_too_large", "invalid_request",
    }  # fmt: skip


def _wrong(call: Call, token: str) -> list[dict[str, Any]]:
    example = call.operation["requestBody"]["content"]["application/json"]["example"]
    changed = [{"json": example | more} for more in ({"mode": "test"}, {"colour": "red"})]
    if example:
        changed.append({"json": dict.fromkeys(example)})
    plain = {"headers": {"Content-Type": "application/json"}}
    return [
        *changed,
        {"data": b"{", **plain},
        {"data": b" " * 70_000, **plain},
        {"data": b"{}", "headers": {"Content-Type": "text/plain"}},
    ]


def test_successes_are_as_described(
    client: FlaskClient, database: Database, customer: Customer, document: dict[str, Any]
) -> None:
    customer.buys(1000)
    with database.write() as db:
        make_entitlement(db, subject=customer.subject, features=["export"])

    def sent(name: str, **changes: Any) -> Any:
        answer = call_of(document, name).send(client, customer.token, **changes)
        assert answer.status_code in (200, 201), answer.text
        return answer

    explained = sent("check", query_string={"explain": "true"})
    assert explained.get_json()["explain"]["entitlement"]
    assert len(sent("customer_access").get_json()["entitlements"]) == 2
    assert sent("entitlements", query_string={"limit": "1"}).get_json()["has_more"] is True
    assert sent("consume").get_json()["usage_remaining"] == 900
    assert sent("consume").headers["Idempotent-Replayed"] == "true"
    for number, closing in enumerate(("commit", "release")):
        made = sent("reserve", headers={"Idempotency-Key": f"r{number}"}).get_json()["reservation_id"]
        assert sent(closing, path_values={"reservation_id": made}).get_json()["ok"] is True
    reused = call_of(document, "consume").send(client, customer.token, json={"subject_ref": "u", "units": 1})
    assert reused.get_json()["error"] == "idempotency_key_reused"


def test_the_reason_of_a_refusal_is_as_described(
    client: FlaskClient, customer: Customer, document: dict[str, Any]
) -> None:
    call = call_of(document, "check")
    answer = call.send(client, customer.token, query_string={"explain": "true"})
    assert answer.get_json()["explain"]["reason"] == "no_entitlement"


def test_a_signed_event_is_answered_as_described(
    client: FlaskClient, app: Flask, database: Database, cast: Cast, document: dict[str, Any]
) -> None:
    with database.write() as db:
        secret_box = app.extensions["licenzy"].secret_box
        connection = make_connection(db, project_id=cast.project_id, secret_box=secret_box)
    body, headers = signed({"no": "event"}, WEBHOOK_SECRET)
    call = call_of(document, "receive_for_connection")
    answer = call.send(client, data=body, headers=headers, path_values={"connection_id": connection.id})
    assert answer.get_json()["error"] == "invalid_event"
    body, headers = signed(event("customer.created", {"id": "cus_1", "object": "customer"}), WEBHOOK_SECRET)
    kept = call.send(client, data=body, headers=headers, path_values={"connection_id": connection.id})
    assert (kept.status_code, kept.get_json()) == (200, {"received": True})


def test_it_is_made_once(app: Flask) -> None:
    assert app.extensions["licenzy_api_description"]() is app.extensions["licenzy_api_description"]()


def test_a_key_is_not_needed_and_none_is_shown(
    client: FlaskClient, database: Database, cast: Cast, document: dict[str, Any]
) -> None:
    with database.write() as db:
        token = make_key(db, project_id=cast.project_id)[1]
    told = client.get("/v1/openapi.json", headers={"Authorization": f"Bearer {token}"})
    assert told.get_json() == document
    assert "Licenzy-Mode" not in told.headers
