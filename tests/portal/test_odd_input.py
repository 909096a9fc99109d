"""Pages and forms asked for with what no browser sends: refused, alike on both databases."""

from __future__ import annotations

import io

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.server.test_http_hardening import addresses
from tests.support.cast import Cast
from tests.support.visits import csrf_token, visiting


def test_a_nul_in_any_address_finds_nothing_and_fails_nowhere(app: Flask, cast: Cast) -> None:
    owner = visiting(app, cast.owner.email)
    token = csrf_token(owner, "/account")
    for method, path in addresses(app, cast):
        if path.startswith("/v1/"):
            continue
        for odd in (
            path.replace("something", "some%00thing").replace("_00000", "_0%000"),
            f"{path}?attempt=%00&price_id=%00",
        ):
            answer = owner.open(odd, method=method, data={"csrf_token": token} if method == "POST" else None)
            assert answer.status_code < 500, (method, odd)
        if path == "/sign-out":
            owner = visiting(app, cast.owner.email)
            token = csrf_token(owner, "/account")


@pytest.mark.parametrize("field", ["email", "password", "next", "of_no_use"])
def test_a_nul_in_a_form_is_refused(client: FlaskClient, cast: Cast, field: str) -> None:
    sent = {"email": "owner@example.com", "password": "wrong", "csrf_token": csrf_token(client)}
    assert client.post("/sign-in", data={**sent, field: "a\0b@example.com"}).status_code == 400


def test_an_upload_or_json_is_no_form(app: Flask, cast: Cast) -> None:
    owner = visiting(app, cast.owner.email)
    token = {"X-CSRFToken": csrf_token(owner, "/account")}
    upload = {"name": (io.BytesIO(b"\x00\xff"), "name.bin")}
    assert owner.post("/projects/new", data=upload, headers=token).status_code == 422
    for value in ({"name": "A project"}, {"name": 5}, {"name": ["\ud800"]}):
        assert owner.post("/projects/new", json=value, headers=token).status_code == 422
    deep = b"[" * 60_000
    answer = owner.post("/projects/new", data=deep, headers=token, content_type="application/json")
    assert answer.status_code == 422
