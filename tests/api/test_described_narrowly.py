"""What the description of the API allows is never refused for its form."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api.schemas import CheckoutSessionBody
from licenzy.catalog.rules import valid_product_code
from licenzy.checkout.rules import redirect_problem
from licenzy.settings import Settings
from licenzy.subjects.rules import ref_problem
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import AuditEntry
from tests.conftest import make_settings
from tests.support.cast import WEBHOOK_SECRET, Cast, make_connection
from tests.support.clock import START
from tests.support.described import Call, call_of, calls, resolved
from tests.support.generated import compiled, texts, values
from tests.support.purchases import make_entitlement, signed
from tests.usage.buying import Customer, customer_with

ABOUT_FORM = {
    "idempotency_key_invalid", "idempotency_key_missing", "internal_error", "invalid_event", "invalid_json",
    "invalid_redirect_url", "invalid_request", "mode_not_allowed", "rate_limited", "signature_invalid",
    "stripe_price_id_not_allowed", "unknown_field", "unsupported_media_type",
}  # fmt: skip
ODD_CHARACTERS = "\u2028\u202e\u2069\ud800\x85\x00\n \u3000\ufeff\u200b"
SCHEMAS = CheckoutSessionBody.model_json_schema()["properties"]
OPERATIONS = [
    "check", "check_batch", "customer_access", "entitlements", "create_session", "portal_session", "consume",
    "reserve", "commit", "release", "audit", "receive_for_connection", "receive_for_tenant", "openapi",
]  # fmt: skip


@pytest.fixture
def settings(tmp_path: Any, database_url: str) -> Settings:
    return make_settings(tmp_path, database_url, rate_limit=1_000_000)


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    described: dict[str, Any] = app.extensions["licenzy_api_description"]()
    return described


def test_every_operation_is_tried(document: dict[str, Any]) -> None:
    assert [call.operation["operationId"] for call in calls(document)] == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_allowed_is_taken(
    app: Flask, client: FlaskClient, cast: Cast, document: dict[str, Any], name: str
) -> None:
    runtime = app.extensions["licenzy"]
    customer = customer_with(runtime.database, cast)
    with runtime.database.write() as db:
        connection, _live = (
            make_connection(
                db,
                project_id=cast.project_id,
                secret_box=runtime.secret_box,
                mode=mode,
            )
            for mode in (Mode.TEST, Mode.LIVE)
        )
        held = make_entitlement(db, subject=customer.subject)
        record(
            db,
            actor=Actor(),
            action="price.created",
            about="",
            project_id=cast.project_id,
            mode=Mode.TEST,
            now=START,
        )
        seen = db.exec(select(AuditEntry.id).where(AuditEntry.project_id == cast.project_id)).first()
    known = {"connection_id": connection.id, "starting_after": held.id, "cursor": seen}
    call = call_of(document, name)

    @how(
        database=None,
        deadline=None,
        derandomize=True,
        max_examples=50,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(requests(call))
    def hold(request: Request) -> None:
        answer = send(client, customer, call, request, known)
        told = answer.get_json()
        assert told.get("error") not in ABOUT_FORM, (request, told)
        assert answer.status_code < 500 or told["error"].startswith("stripe_"), (request, told)

    hold()


@how(database=None, deadline=None)
@given(st.text(st.characters() | st.sampled_from(ODD_CHARACTERS), max_size=5))
def test_the_pattern_of_a_ref_is_its_rule(ref: str) -> None:
    described = SCHEMAS["subject_ref"]
    assert described["maxLength"] == 200
    allowed = len(ref) >= described["minLength"] and compiled(described["pattern"]).search(ref) is not None
    assert allowed is (ref_problem(ref) is None)


@how(database=None, deadline=None)
@given(texts(SCHEMAS["product_code"]) | st.text(max_size=70) | st.from_regex(r"(?:price|sub|plan|lz)_[\w]+"))
def test_the_pattern_of_a_product_code_is_its_rule(code: str) -> None:
    described = SCHEMAS["product_code"]
    fits = described["minLength"] <= len(code) <= described["maxLength"]
    assert (fits and compiled(described["pattern"]).search(code) is not None) is valid_product_code(code)


@how(database=None, deadline=None)
@given(texts(SCHEMAS["success_url"]))
def test_the_pattern_of_an_address_allows_good_ones_only(url: str) -> None:
    assert redirect_problem(url, mode=Mode.TEST, hosts=[]) is None


GOOD_ADDRESSES = [
    "https://a.co",
    "https://shop.example:8443/x?y={CHECKOUT_SESSION_ID}#z",
    "http://[::1]:3000/",
]


@pytest.mark.parametrize("url", GOOD_ADDRESSES)
def test_the_pattern_of_an_address_allows_what_is_sent(url: str) -> None:
    assert compiled(SCHEMAS["success_url"]["pattern"]).search(url)


@pytest.mark.parametrize("email", ["a@b.co", "Ada.L+x@sub-1.EXAMPLE.com", "o'b@x.museum"])
def test_the_pattern_of_an_email_allows_what_is_sent(email: str) -> None:
    assert compiled(SCHEMAS["customer_email"]["pattern"]).search(email)


Request = dict[str, Any]


def requests(call: Call) -> st.SearchStrategy[Request]:
    """What the description allows to be sent, by where it stands; optional things are left out at times."""
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for each in (resolved(call.document, told) for told in call.operation["parameters"]):
        if each["name"] == "Stripe-Signature":
            parts[each["name"]] = st.just(each["example"])
            continue
        one = values(call.document, each["schema"])
        parts[each["name"]] = one if each["required"] else st.none() | one
    if "requestBody" in call.operation:
        body = call.operation["requestBody"]
        told = values(call.document, body["content"]["application/json"]["schema"])
        parts["body"] = told if body["required"] else st.none() | told
    return st.fixed_dictionaries(parts)


def send(client: FlaskClient, customer: Customer, call: Call, request: Request, known: dict[str, str]) -> Any:
    """Send it. Ids of things that must exist, and signatures, are made good."""
    headers = dict(customer.headers) if call.operation["security"] else {}
    path, query = call.path, {}
    for each in (resolved(call.document, told) for told in call.operation["parameters"]):
        name, where = each["name"], each["in"]
        value = request[name]
        if value is None:
            continue
        if name in known:
            value = known[name]
        if name == "subject_ref" and request.get("starting_after") is not None:
            value = customer.subject.subject_ref  # What it must be an entitlement of.
        if where == "path":
            path = path.replace("{" + name + "}", quote(value, safe=""))
        elif where == "query":
            query[name] = str(value)
        else:
            headers[name] = value
    sent: dict[str, Any] = {}
    if request.get("body") is not None:
        data = json.dumps(request["body"], ensure_ascii=len(json.dumps(request["body"])) % 2 == 0)
        sent = {"data": data.encode("utf-8", "surrogatepass"), "content_type": "application/json"}
        if "Stripe-Signature" in headers:
            headers |= signed(sent["data"], WEBHOOK_SECRET)[1]
    return client.open(f"{path}?{urlencode(query)}", method=call.method, headers=headers, **sent)
