"""Claiming, signing in and out, as a browser without scripts does it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.db.unit_of_work import Database
from licenzy.runtime import Runtime
from licenzy.workspace import rules
from licenzy.workspace.models import User
from licenzy.workspace.sign_in_models import SignInSession
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import StandingClock
from tests.support.visits import csrf_token, forms_of, location, sign_in, submit, visiting

OWNER = {"name": "First Owner", "email": "first@example.com", "password": "some unrelated words"}


def claim_path(runtime: Runtime) -> str:
    return f"/claim/{runtime.settings.derived_secret('claim')}"


def test_a_fresh_installation_tells_how_to_claim_it_but_not_the_link(
    client: FlaskClient, runtime: Runtime
) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "This installation has no owner yet" in page.text
    assert runtime.settings.derived_secret("claim") not in page.text


def test_claiming_signs_the_owner_in_and_closes_the_link(client: FlaskClient, runtime: Runtime) -> None:
    path = claim_path(runtime)
    assert client.get(path).headers["Referrer-Policy"] == "no-referrer"
    answer = submit(client, path, OWNER)
    assert (answer.status_code, location(answer)) == (303, "/")
    assert "First Owner" in client.get("/account").text
    assert client.get(path).status_code == 404
    again = client.post(path, data={**OWNER, "csrf_token": csrf_token(client, "/account")})
    assert again.status_code == 404


def test_the_link_dies_when_somebody_is_made_on_the_command_line(
    app: Flask, client: FlaskClient, runtime: Runtime, database: Database
) -> None:
    path = claim_path(runtime)
    opened_before = forms_of(client.get(path))[0].fields
    made = app.test_cli_runner().invoke(
        args=["users", "create", "--email", "made@example.com", "--password-stdin"],
        input=f"{PASSWORD}\n",
    )
    assert made.exit_code == 0, made.output
    assert client.get(path).status_code == 404
    assert client.post(path, data={**opened_before, **OWNER}).status_code == 404
    assert location(client.get("/")) == "/sign-in"
    with database.read() as db:
        assert db.exec(select(User.email)).all() == ["made@example.com"]
    # What `licenzy serve` is told before it greets: it prints no link to an installation with an owner.
    told = app.test_cli_runner().invoke(args=["prepare"])
    assert json.loads(told.stdout.splitlines()[-1])["claimed"] is True


def test_who_is_locked_out_reads_which_command_helps(client: FlaskClient, cast: Cast) -> None:
    page = client.get("/sign-in").text
    assert "licenzy users reset-password --email" in page
    assert 'href="/docs/operations#commands"' in page
    assert '<h2 id="commands">' in client.get("/docs/operations").text


@pytest.mark.parametrize("token", ["x", "%F0%9F%90%9D", "a" * 43])
def test_another_token_is_refused(client: FlaskClient, database: Database, token: str) -> None:
    data = {**OWNER, "csrf_token": csrf_token(client)}
    assert client.get(f"/claim/{token}").status_code == 403
    assert client.post(f"/claim/{token}", data=data).status_code == 403
    with database.read() as db:
        assert db.exec(select(User)).all() == []


def test_a_claim_with_a_weak_password_says_so_and_keeps_what_was_typed(
    client: FlaskClient, runtime: Runtime
) -> None:
    page = submit(client, claim_path(runtime), {**OWNER, "password": "password"})
    assert page.status_code == 422
    assert "one of the most common passwords" in page.text
    assert 'value="first@example.com"' in page.text
    assert 'aria-invalid="true"' in page.text
    assert 'value="password"' not in page.text


def test_signing_in_leads_to_the_only_project(client: FlaskClient, cast: Cast) -> None:
    answer = sign_in(client, "owner@example.com")
    assert (answer.status_code, location(answer)) == (303, "/")
    assert location(client.get("/")) == f"/projects/{cast.project_id}/test"


@pytest.mark.parametrize(
    ("email", "password"),
    [("owner@example.com", "wrong password"), ("nobody@example.com", PASSWORD), ("", PASSWORD)],
)
def test_a_refused_sign_in_is_a_form_with_its_reason(
    client: FlaskClient, cast: Cast, email: str, password: str
) -> None:
    page = sign_in(client, email, password)
    assert page.status_code == 422
    assert [form.action for form in forms_of(page)] == ["/sign-in"]
    assert password not in page.text
    assert client.get("/account").status_code == 303


def test_unknown_and_wrong_get_the_same_page(app: Flask, cast: Cast) -> None:
    def page(email: str) -> str:
        client = app.test_client()
        answer = sign_in(client, email, "wrong password")
        token = forms_of(answer)[0].fields["csrf_token"]
        return answer.text.replace(token, "").replace(email, "")

    assert page("owner@example.com") == page("nobody@example.com")


def test_after_wrong_passwords_one_is_told_how_long_to_wait(
    client: FlaskClient, cast: Cast, clock: StandingClock
) -> None:
    statuses = [sign_in(client, "owner@example.com", "wrong password").status_code for _ in range(6)]
    assert statuses == [422] * 5 + [429]
    clock.advance(seconds=18)
    late = sign_in(client, "owner@example.com", PASSWORD)
    assert late.status_code == 429
    assert late.headers["Retry-After"] == "42"
    assert "Try again in 42 seconds." in late.text
    assert "A browser you signed in with before does not wait." in late.text
    assert 'value="owner@example.com"' in late.text
    assert [form.action for form in forms_of(late)] == ["/sign-in"]
    clock.advance(seconds=42)
    assert sign_in(client, "owner@example.com", PASSWORD).status_code == 303


def test_a_throttled_address_reads_the_same_whether_it_is_somebodys(app: Flask, cast: Cast) -> None:
    def pages(email: str) -> list[str]:
        client, seen = app.test_client(), []
        for _ in range(8):
            answer = sign_in(client, email, "wrong password")
            token = forms_of(answer)[0].fields["csrf_token"]
            seen.append(f"{answer.status_code} {answer.text.replace(token, '').replace(email, '')}")
        return seen

    assert pages("owner@example.com") == pages("nobody@example.com")


def guess_until_throttled(app: Flask, email: str = "owner@example.com") -> None:
    """Strangers at the same address, where nobody tells them apart, until nobody new is let in."""
    stranger = app.test_client()
    for _ in range(7):
        answer = sign_in(stranger, email, "wrong password")
    assert answer.status_code == 429
    assert sign_in(app.test_client(), email).status_code == 429


def signed_out(client: FlaskClient) -> FlaskClient:
    client.post("/sign-out", data={"csrf_token": csrf_token(client, "/account")})
    assert client.get("/account").status_code == 303
    return client


@pytest.mark.parametrize("email", ["owner@example.com", "colleague@example.com"])
def test_a_browser_that_signed_in_before_is_not_kept_out_by_strangers(
    app: Flask, cast: Cast, email: str
) -> None:
    """Two people use it, and it is known to both; another browser of theirs is not."""
    browser = app.test_client()
    for each in ("owner@example.com", "colleague@example.com"):
        assert sign_in(browser, each).status_code == 303
        signed_out(browser)
    guess_until_throttled(app, email)
    assert sign_in(browser, email).status_code == 303


def test_who_claimed_the_installation_has_a_known_browser(
    app: Flask, client: FlaskClient, runtime: Runtime
) -> None:
    submit(client, claim_path(runtime), OWNER)
    signed_out(client)
    guess_until_throttled(app, OWNER["email"])
    assert sign_in(client, OWNER["email"], OWNER["password"]).status_code == 303


def test_after_a_change_of_the_password_only_this_browser_is_known(app: Flask, cast: Cast) -> None:
    here, there = visiting(app, "owner@example.com"), visiting(app, "owner@example.com")
    new = "an entirely new one"
    assert submit(here, "/account", {"current": PASSWORD, "new": new}).status_code == 303
    signed_out(here)
    guess_until_throttled(app)
    assert sign_in(here, "owner@example.com", new).status_code == 303
    assert sign_in(there, "owner@example.com", new).status_code == 429


def device_cookie(client: FlaskClient, app: Flask) -> Any:
    return client.get_cookie(app.config["SESSION_COOKIE_NAME"].replace("licenzy", "licenzy-device"))


@pytest.mark.parametrize("spoil", [lambda text: text[:-2], lambda text: f"x{text}", lambda _text: "é"])
def test_a_device_cookie_that_we_did_not_sign_is_none(app: Flask, cast: Cast, spoil: Any) -> None:
    known = device_cookie(visiting(app, "owner@example.com"), app)
    guess_until_throttled(app)
    client = app.test_client()
    client.set_cookie(known.key, known.value)
    assert sign_in(client, "owner@example.com").status_code == 303
    client = app.test_client()
    client.set_cookie(known.key, spoil(known.value))
    assert sign_in(client, "owner@example.com").status_code == 429


def test_a_device_cookie_opens_nothing_and_lasts_a_year(app: Flask, cast: Cast) -> None:
    known = device_cookie(visiting(app, "owner@example.com"), app)
    assert (known.max_age, known.http_only, known.same_site) == (365 * 24 * 3600, True, "Lax")
    client = app.test_client()
    client.set_cookie(known.key, known.value)
    assert client.get("/account").status_code == 303
    assert cast.owner.email not in known.value


def cookie_of(client: FlaskClient, app: Flask) -> str:
    cookie = client.get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert cookie is not None
    return cookie.value


def with_cookie(app: Flask, value: str) -> FlaskClient:
    client = app.test_client()
    client.set_cookie(app.config["SESSION_COOKIE_NAME"], value)
    return client


def test_a_cookie_from_before_is_worth_nothing_after(app: Flask, client: FlaskClient, cast: Cast) -> None:
    csrf_token(client)
    before = cookie_of(client, app)
    sign_in(client, "owner@example.com")
    after = cookie_of(client, app)
    assert after != before
    assert client.get("/account").status_code == 200
    assert with_cookie(app, before).get("/account").status_code == 303


def test_a_form_from_before_signing_in_is_not_taken_after(client: FlaskClient, cast: Cast) -> None:
    old_token = csrf_token(client)
    sign_in(client, "owner@example.com")
    assert client.post("/sign-out", data={"csrf_token": old_token}).status_code == 403
    assert client.get("/account").status_code == 200


def test_signing_out_ends_the_session_for_copies_of_the_cookie_too(
    app: Flask, client: FlaskClient, cast: Cast
) -> None:
    sign_in(client, "owner@example.com")
    stolen = cookie_of(client, app)
    assert with_cookie(app, stolen).get("/account").status_code == 200
    token = csrf_token(client, "/account")
    answer = client.post("/sign-out", data={"csrf_token": token})
    assert location(answer) == "/sign-in"
    assert client.get("/account").status_code == 303
    assert with_cookie(app, stolen).get("/account").status_code == 303


def test_each_sign_in_has_a_session_of_its_own(app: Flask, cast: Cast, database: Database) -> None:
    first, second = visiting(app, "owner@example.com"), visiting(app, "owner@example.com")
    assert cookie_of(first, app) != cookie_of(second, app)
    with database.read() as db:
        assert len(set(db.exec(select(SignInSession.token_hash)))) == 2


def test_idle_and_old_sessions_end(app: Flask, cast: Cast, clock: StandingClock) -> None:
    client = visiting(app, "owner@example.com")
    for _ in range(12):  # Used every two days, it lives for thirty and no longer.
        clock.advance(days=2)
        assert client.get("/account").status_code == 200
    clock.advance(days=6, seconds=1)
    assert client.get("/account").status_code == 303

    idle = visiting(app, "owner@example.com")
    clock.now += rules.SESSION_IDLE
    assert idle.get("/account").status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(app: Flask, client: FlaskClient, cast: Cast) -> None:
    answer = sign_in(client, "owner@example.com")
    cookies = answer.headers.getlist("Set-Cookie")
    assert cookies
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie


def test_who_signs_in_goes_on_to_the_page_they_wanted(client: FlaskClient, cast: Cast) -> None:
    asked = client.get("/projects/new?from=mail")
    assert location(asked) == "/sign-in?next=/projects/new?from%3Dmail"
    answer = sign_in(client, "owner@example.com", path=asked.headers["Location"])
    assert location(answer) == "/projects/new?from=mail"


AWAY = [
    "//evil.example",
    "///evil.example",
    "////evil.example/path",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/ /evil.example",
    "/\n/evil.example",
    "/\r\nSet-Cookie: a=b",
    "/%0d%0a//evil.example",
    "https://evil.example",
    "http://evil.example",
    "HTTPS://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "//evil.example:80",
    "//user:pass@evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "evil.example",
    "evil.example/path",
    "www.evil.example",
    "@evil.example",
    ".evil.example",
    ":80",
    "?next=//evil.example",
    "#//evil.example",
    "/\x7f/evil.example",
    "/\u2028/evil.example",
    "／／evil.example",
    "/。/evil.example",
    "/%09/evil.example",
    "/%2f/evil.example",
    "/%5cevil.example",
    "http://localhost@evil.example/",
    "http://localhost.evil.example/",
    "x" * 3000,
    "/" + "x" * 3000,
]


@pytest.mark.parametrize("wanted", AWAY, ids=range(len(AWAY)))
def test_next_never_leads_away(client: FlaskClient, cast: Cast, wanted: str) -> None:
    token = csrf_token(client)
    data: dict[str, Any] = {
        "email": "owner@example.com",
        "password": PASSWORD,
        "csrf_token": token,
        "next": wanted,
    }
    answer = client.post("/sign-in", data=data)
    assert answer.status_code == 303
    target = answer.headers["Location"]
    assert target == "/" or wanted.startswith("/%")
    assert urlsplit(urljoin("http://localhost/sign-in", target)).netloc == "localhost"
    # The same as an already signed-in visitor, and by htmx.
    assert client.get("/sign-in", query_string={"next": wanted}).headers["Location"] == target
    by_htmx = client.get("/sign-in", query_string={"next": wanted}, headers={"HX-Request": "true"})
    assert by_htmx.headers["HX-Redirect"] == target
