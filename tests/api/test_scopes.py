"""What a key may call: every call by a key of every scope, in Flask and on the loop, on both databases."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from licenzy.api.operations import OPERATIONS
from licenzy.api.request import ApiState, answering
from licenzy.api.routes import UNKNOWN_ROUTE, CallRoute
from licenzy.api_keys.models import KeyScope
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement
from licenzy.settings import Settings
from tests.api.bad_requests import bearer
from tests.api.test_every_route import TABLE, refusal_of
from tests.support.cast import Cast, make_key, make_subject
from tests.support.hotpath import LoopClient, compared_parts
from tests.support.purchases import make_entitlement

READS = {
    "/v1/access/check",
    "/v1/access/check-batch",
    "/v1/customer/access/<ref:subject_ref>",
    "/v1/entitlements/<ref:subject_ref>",
}
"""Written by hand: a call that is added here reads and nothing else."""
HOT = [route for route in TABLE if route.path in ("/v1/access/check", "/v1/usage/consume")]


KEYLESS = {
    "/healthz": "public",
    "/readyz": "public",
    "/v1/openapi.json": "public",
    "/static/<path:filename>": "public",
    "/v1/webhooks/stripe/tenant": "signed by Stripe",
    "/v1/webhooks/stripe/<connection_id>": "signed by Stripe",
}
"""Every address that is neither a page nor a call with a key, and who may use it."""


def may(scopes: str, rule: str) -> bool:
    """What docs/api-keys.md promises."""
    words = set(scopes.split())
    if rule == "/v1/audit":
        return "audit" in words
    return "runtime" in words or ("read" in words and rule in READS)


def tokens(database: Database, cast: Cast) -> dict[str, str]:
    with database.write() as db:
        return {
            scopes: make_key(db, project_id=cast.project_id, scopes=scopes)[1]
            for scopes in ("runtime", "read", "audit", "read audit", "runtime audit")
        }


def test_every_call_is_made_by_the_keys_that_may_make_it(
    client: FlaskClient, database: Database, cast: Cast, settings: Settings
) -> None:
    page = f"{settings.base_url}/projects/{cast.project_id}/test/api-keys"
    for scopes, token in tokens(database, cast).items():
        for number, route in enumerate(TABLE):
            key = {"Idempotency-Key": f"{scopes}-{number}"} if route.headers else {}
            answer = route.call(client, token, headers=key)
            if may(scopes, route.rule):
                assert answer.status_code != 403, (scopes, str(route))
                continue
            assert refusal_of(answer) == (403, "insufficient_scope"), (scopes, str(route))
            assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
            assert answer.headers["Licenzy-Mode"] == answer.get_json()["mode"] == "test"
            assert page in answer.get_json()["hint"]
            assert ("read or runtime" in answer.get_json()["hint"]) == (route.rule in READS)


def test_every_call_says_which_scope_it_needs(app: Flask) -> None:
    """A call without one fails while the application is made; one that takes no key says none."""
    rules = {rule.endpoint: rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/v1/")}
    needed = {rules[endpoint]: operation.scope for endpoint, operation in OPERATIONS.items()}
    keyed = {route.rule for route in TABLE}
    assert {rule for rule, scope in needed.items() if scope is not None} == keyed
    assert {rule for rule, scope in needed.items() if scope is KeyScope.READ} == READS
    others = {rule.rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith("portal.")}
    assert others == keyed | set(KEYLESS)


def test_a_view_without_a_declared_scope_answers_nobody(app: Flask, database: Database, cast: Cast) -> None:
    with database.write() as db:
        token = make_key(db, project_id=cast.project_id)[1]
    state = ApiState(app.extensions["licenzy"])
    for route, status in ((UNKNOWN_ROUTE, 500), (CallRoute("GET", "/v1/new", KeyScope.READ), 200)):
        with app.test_request_context("/v1/new", headers=bearer(token)):
            answer = answering(state, lambda call: call.answer({"key": call.authenticate().key_id}), route)()
        assert answer.status_code == status


def test_the_loop_refuses_as_the_routes_do_and_takes_nothing(
    app: Flask, client: FlaskClient, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="u")
        pack = make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, ends_at=None, granted_units=5)
    loop = LoopClient(app)
    for scopes, token in tokens(database, cast).items():
        for route in HOT:
            for body in (route.body, {"x": 1}):
                sent: dict[str, Any] = {
                    "json": body,
                    "headers": bearer(token) | {"Idempotency-Key": f"{scopes}-{len(body or {})}"},
                }
                by_loop, by_route = loop.post(route.path, **sent), client.post(route.path, **sent)
                assert by_loop is not None
                if (by_loop.status_code, route) != (200, HOT[1]):
                    assert compared_parts(by_loop) == compared_parts(by_route)
                assert (by_loop.status_code == 403) == (not may(scopes, route.rule)), (scopes, str(route))
    with database.read() as db:
        after = db.get(Entitlement, (cast.project_id, pack.mode, pack.id))
        assert after is not None
        assert after.used_units == 2, "one unit for each of the two keys that may consume"


def test_the_statement_that_consumes_looks_at_the_scope(
    app: Flask, client: FlaskClient, database: Database, cast: Cast
) -> None:
    """Even when a process has seen the key before, as it remembers whose key it is."""
    consume = HOT[1]
    with database.write() as db:
        key, token = make_key(db, project_id=cast.project_id)
    assert refusal_of(consume.call(client, token)) == (409, "insufficient_usage")
    with database.write() as db:
        key.scopes = "read"
        db.add(key)
    loop = LoopClient(app)
    for number in range(2):
        again = {"Idempotency-Key": f"again-{number}"}
        assert refusal_of(consume.call(client, token, headers=again)) == (403, "insufficient_scope")
        answer = loop.post(consume.path, json=consume.body, headers=bearer(token) | again)
        assert answer is not None
        assert answer.status_code == 403
