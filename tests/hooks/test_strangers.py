"""What a stranger can send to the webhook addresses: always the same refusal, never a failure of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from licenzy.hooks import stripe as hook
from licenzy.runtime import Runtime
from tests.support.cast import Cast, make_connection
from tests.support.purchases import signed

SECRET = "whsec_of_nobody_0123456789abcdef"
BODY = {
    "id": "evt_1",
    "object": "event",
    "type": "x",
    "created": 1,
    "livemode": False,
    "data": {"object": {}},
}


def refusal(client: FlaskClient, address: str, body: dict[str, Any] = BODY) -> tuple[int, dict[str, Any]]:
    raw, headers = signed(body, SECRET)
    answer = client.post(f"/v1/webhooks/stripe/{address}", data=raw, headers=headers)
    told = answer.get_json()
    told.pop("request_id")
    return answer.status_code, told


@pytest.mark.parametrize("address", ["con_nobody", "con%00", "%FF", "%ED%A0%80", "%F0%9F%98%80", "a" * 3000])
def test_an_address_of_nobody_is_answered_like_a_wrong_signature(
    client: FlaskClient, runtime: Runtime, cast: Cast, address: str
) -> None:
    with runtime.database.write() as db:
        known = make_connection(db, project_id=cast.project_id, seal=runtime.seal)
    wrong = refusal(client, known.id)
    assert (wrong[0], wrong[1]["error"]) == (400, "signature_invalid")
    assert refusal(client, address) == wrong


@pytest.mark.parametrize("named", ["prj_nobody", "\0", "prj\ud800", "é", "", 5, None, [], {"a": "\0"}])
def test_a_body_may_claim_any_project(client: FlaskClient, named: Any) -> None:
    claimed = {**BODY, "data": {"object": {"metadata": {"licenzy_project": named}}}}
    status, told = refusal(client, "tenant", json.loads(json.dumps(claimed)))
    assert (status, told["error"]) == (400, "signature_invalid")


def test_an_unknown_connection_costs_as_many_signatures_as_a_known_one(
    client: FlaskClient, runtime: Runtime, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, verified = hook.verify, []

    def counting(*args: Any, **named: Any) -> str:
        verified.append(args)
        return real(*args, **named)

    monkeypatch.setattr(hook, "verify", counting)
    with runtime.database.write() as db:
        known = make_connection(db, project_id=cast.project_id, seal=runtime.seal)
    refusal(client, known.id)
    assert len(verified) == 1
    refusal(client, "con_nobody")
    assert len(verified) == 2


def test_two_slashes_are_another_path(client: FlaskClient) -> None:
    raw, headers = signed(BODY, SECRET)
    for path in ("//v1/webhooks/stripe/con_1", "//v1/access/check"):
        answer = client.open(
            "/", method="POST", data=raw, headers=headers, environ_overrides={"PATH_INFO": path}
        )
        assert (answer.status_code, answer.get_json()["error"]) == (404, "not_found")
    assert client.get("/", environ_overrides={"PATH_INFO": "//sign-in"}).status_code == 404
