"""What every answer carries, and which requests are refused before any route."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from licenzy.db import postgres
from licenzy.factory import create_app
from licenzy.settings import Settings
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import StandingClock
from tests.support.visits import csrf_token, forms_of, visiting

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def addresses(app: Flask, cast: Cast) -> Iterator[tuple[str, str]]:
    """Every method and address of the application, with something in each variable."""
    values = {"project_id": cast.project_id, "mode": "test", "version": "1"}
    adapter = app.url_map.bind("localhost")
    rules = " ".join(map(str, app.url_map.iter_rules()))
    ids = {name: prefix for prefix, name in re.findall(r"<id\('(\w+)'\):(\w+)>", rules)}
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        given = {
            name: values.get(name) or (f"{ids[name]}_{'0' * 26}" if name in ids else "something")
            for name in rule.arguments
        }
        path = adapter.build(rule.endpoint, given, append_unknown=False)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, path


def check_headers(headers: object, path: str) -> None:
    policy = headers["Content-Security-Policy"]  # type: ignore[index]
    for directive in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'"):
        assert directive in policy, path
    for directive in ("form-action 'self'", "frame-ancestors 'none'"):
        assert directive in policy, path
    assert "unsafe" not in policy, path
    for name, value in ALWAYS.items():
        assert headers[name] == value, (path, name)  # type: ignore[index]
    assert headers["Referrer-Policy"] in {"same-origin", "no-referrer"}, path  # type: ignore[index]


def test_every_answer_of_every_route_carries_the_security_headers(app: Flask, cast: Cast) -> None:
    stranger, owner = app.test_client(), visiting(app, "owner@example.com")
    statuses = set()
    for method, path in addresses(app, cast):
        for client in (stranger, owner):
            answer = client.open(path, method=method)
            check_headers(answer.headers, f"{method} {path}")
            statuses.add(answer.status_code)
    assert {200, 303, 403} <= statuses


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing-here", 404),
        ("POST", "/nothing-here", 404),
        ("DELETE", "/sign-in", 405),
        ("GET", "/claim/wrong", 404),
        ("POST", "/sign-in", 403),
        ("GET", "/v1/nothing-here", 404),
        ("GET", "/static/nothing.css", 404),
    ],
)
def test_errors_carry_them_too(client: FlaskClient, cast: Cast, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    check_headers(answer.headers, path)


def test_a_failure_of_ours_is_a_page_with_the_headers_and_no_details(app: Flask, cast: Cast) -> None:
    def broken() -> str:
        raise RuntimeError("SELECT secret FROM somewhere")

    app.add_url_rule("/broken", "portal.broken_of_test", broken)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = app.test_client().get("/broken")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "SELECT" not in answer.text
    assert "Traceback" not in answer.text
    check_headers(answer.headers, "/broken")


def test_without_a_database_there_is_still_a_page(
    app: Flask, cast: Cast, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = visiting(app, "owner@example.com")
    database = app.extensions["licenzy"].database
    if database.is_sqlite:
        path = Path(settings.database_url.removeprefix("sqlite:///"))
        database.engine.dispose()
        path.rename(path.with_suffix(".away"))
        path.mkdir()
    else:
        database.engine.dispose()
        connect = postgres.connect
        monkeypatch.setattr(postgres, "connect", lambda parameters: connect({**parameters, "port": 1}))
    answer = client.get("/account")
    assert answer.status_code == 503
    assert "Temporarily unavailable" in answer.text
    check_headers(answer.headers, "/account")


def test_pages_are_not_kept_in_caches(app: Flask, cast: Cast) -> None:
    owner = visiting(app, "owner@example.com")
    for path in ("/account", "/projects", "/projects/new", "/sign-in", "/nothing"):
        assert owner.get(path).headers["Cache-Control"] == "no-store", path


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "10.0.0.1",
        "",
        "localhost@evil.example",
        "[::2]",
    ],
)
def test_it_answers_to_its_own_name_only(client: FlaskClient, cast: Cast, host: str) -> None:
    answer = client.get("/sign-in", headers={"Host": host})
    assert answer.status_code == 400
    assert "csrf" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "LOCALHOST:8000", "[::1]:8000", "[::1]"])
def test_on_this_machine_any_of_its_names_will_do(client: FlaskClient, cast: Cast, host: str) -> None:
    assert client.get("/sign-in", headers={"Host": host}).status_code == 200


def test_forwarding_headers_are_not_believed_without_a_proxy(client: FlaskClient, cast: Cast) -> None:
    answer = client.get(
        "/sign-in", headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    )
    assert answer.status_code == 200
    assert "evil.example" not in answer.text


@pytest.fixture
def https_app(settings: Settings, cast: Cast, clock: StandingClock) -> Iterator[Flask]:
    application = create_app(replace(settings, base_url="https://licenzy.example"), clock=clock)
    yield application
    application.extensions["licenzy"].database.engine.dispose()


def test_over_https_cookies_are_bound_and_browsers_told_to_stay(https_app: Flask) -> None:
    client = https_app.test_client()
    there = "https://licenzy.example"
    page = client.get("/sign-in", base_url=there)
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
    fields = forms_of(page)[0].fields
    fields |= {"email": "owner@example.com", "password": PASSWORD}
    answer = client.post("/sign-in", data=fields, base_url=there)
    assert answer.status_code == 303
    cookies = [*page.headers.getlist("Set-Cookie"), *answer.headers.getlist("Set-Cookie")]
    assert {cookie.partition("=")[0] for cookie in cookies} == {"__Host-licenzy", "__Host-licenzy-device"}
    for cookie in cookies:
        assert "; Secure" in cookie
    assert client.get("/account", base_url=there).status_code == 200


def test_over_https_plain_http_is_refused_and_not_redirected(https_app: Flask) -> None:
    client = https_app.test_client()
    for path in ("/sign-in", "/v1/access/check", "/nothing"):
        answer = client.get(path, base_url="http://licenzy.example")
        assert answer.status_code == 403, path
        assert "Location" not in answer.headers
    assert client.get("/sign-in", base_url="https://localhost").status_code == 400


def test_the_api_has_no_cookies(client: FlaskClient, cast: Cast) -> None:
    csrf_token(client)
    answer = client.post("/v1/access/check", json={"subject_ref": "user_123"})
    assert answer.status_code == 401
    assert answer.headers.getlist("Set-Cookie") == []
    assert "Cookie" not in answer.headers.get("Vary", "")


def test_static_files_are_kept_for_good_at_addresses_that_change_with_them(client: FlaskClient) -> None:
    page = client.get("/sign-in").text
    named = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    assert len(named) > 3
    for address in named:
        _, _, _, path = address.split("/", 3)
        with client.get(address) as answer, client.get(f"/static/{path}") as plain:
            assert answer.status_code == 200, address
            assert "immutable" in answer.headers["Cache-Control"], address
            check_headers(answer.headers, address)
            assert plain.data == answer.data
            assert plain.headers["Cache-Control"] == "max-age=3600, public"
    # Fonts are named by the style sheets, from where these stand.
    assert any(address.endswith(".woff2") for address in named)
