"""What a stranger can send to the webhook addresses: always the same refusal, never a failure of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, event
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.hooks import stripe as hook
from licenzy.runtime import Runtime
from licenzy.workspace.models import AuditEntry
from tests.support.cast import Cast, make_connection
from tests.support.clock import StandingClock
from tests.support.ports import wait_until
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


@pytest.mark.parametrize("address", ["con_nobody", "con%00", "%F0%9F%98%80", "a" * 3000])
def test_an_address_of_nobody_is_answered_like_a_wrong_signature(
    client: FlaskClient, runtime: Runtime, cast: Cast, address: str
) -> None:
    with runtime.database.write() as db:
        known = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    wrong = refusal(client, known.id)
    assert (wrong[0], wrong[1]["error"]) == (400, "signature_invalid")
    assert refusal(client, address) == wrong


@pytest.mark.parametrize("address", ["%FF", "%ED%A0%80", "con_%EF%BF%BD"])
def test_an_address_that_could_stand_for_several_is_refused(
    client: FlaskClient, cast: Cast, address: str
) -> None:
    status, told = refusal(client, address)
    assert (status, told["error"]) == (400, "invalid_request")


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
        known = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
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


def refusals(runtime: Runtime) -> list[AuditEntry]:
    with runtime.database.read() as db:
        wanted = AuditEntry.action == "webhook.signature_refused"
        return list(db.exec(select(AuditEntry).where(wanted).order_by(col(AuditEntry.id))))


def test_bad_signatures_are_one_row_in_the_audit_log_for_each_connection_and_hour(
    client: FlaskClient, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        known = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        other = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
    for _ in range(3):
        refusal(client, known.id)
    wait_until(lambda: len(refusals(runtime)) == 1, seconds=10, what="a row for the connection")
    row = refusals(runtime)[0]
    assert (row.about, row.project_id, row.mode) == (known.id, cast.project_id, Mode.TEST)
    assert (row.ip, row.actor_user_id, row.after) == ("127.0.0.1", None, None)
    refusal(client, known.id)
    # An unsigned body is a bad signature like any other, and an address of nobody is nobody's.
    for address in ("con_nobody", known.id, other.id):
        client.post(f"/v1/webhooks/stripe/{address}", data=b"{}")
    wait_until(lambda: len(refusals(runtime)) == 2, seconds=10, what="a row for the other connection")
    clock.advance(hours=1)
    refusal(client, known.id)
    wait_until(lambda: len(refusals(runtime)) == 3, seconds=10, what="a row for the next hour")
    assert [each.about for each in refusals(runtime)] == [known.id, other.id, known.id]
    assert SECRET not in str([each.model_dump() for each in refusals(runtime)])


def test_a_bad_signature_that_may_be_meant_for_several_connections_is_one_row_for_their_address(
    client: FlaskClient, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        for project_id in (cast.project_id, cast.stranger.project_id):
            make_connection(db, project_id=project_id, secret_box=runtime.secret_box)
    for _ in range(3):
        refusal(client, "tenant")
    wait_until(lambda: refusals(runtime) != [], seconds=10, what="a row for the address")
    (row,) = refusals(runtime)
    assert (row.about, row.project_id, row.mode, row.ip) == ("tenant", None, None, "127.0.0.1")


def test_strangers_cannot_make_the_watch_write_without_bound(
    client: FlaskClient, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        known = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    client.post(f"/v1/webhooks/stripe/{known.id}", data=b"{}")
    wait_until(lambda: len(refusals(runtime)) == 1, seconds=10, what="a row for the connection")
    writes = 0

    def counting(_connection: Connection) -> None:
        nonlocal writes
        writes += 1

    event.listen(runtime.database.engine, "commit", counting)
    for _ in range(50):
        client.post(f"/v1/webhooks/stripe/{known.id}", data=b"{}")
        client.post("/v1/webhooks/stripe/con_nobody", data=b"{}", headers={"Stripe-Signature": "t=1,v1=ab"})
    runtime.database.close()
    assert writes == 0
