"""The second factor in the portal: setting it up, signing in with it, and workspaces that require it."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from licenzy.db.unit_of_work import Database
from licenzy.runtime import Runtime
from licenzy.workspace import rules
from licenzy.workspace.models import Membership, Role, User, Workspace
from tests.server.test_http_hardening import addresses
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START, StandingClock
from tests.support.codes import app_of, code_at
from tests.support.visits import csrf_token, forms_of, location, sign_in, submit, visiting

EMAIL = "owner@example.com"


def press(client: FlaskClient, action: str, page: str = "/account") -> str:
    """Press the button whose form goes there; where it leads."""
    form = next(each for each in forms_of(client.get(page)) if each.action == action)
    return location(client.post(action, data=form.fields))


def secret_on(page: str) -> str:
    found = re.search(r"copy-line-text[^>]*>([A-Z2-7 ]+)<", page)
    assert found is not None
    return found.group(1).replace(" ", "")


def set_up(client: FlaskClient) -> tuple[str, list[str]]:
    """Set an authenticator app up by the pages; its secret and the recovery codes."""
    assert press(client, "/account/authenticator") == "/account/authenticator"
    secret = secret_on(client.get("/account/authenticator").text)
    answer = submit(client, "/account/authenticator", {"code": code_at(secret, START)})
    assert location(answer) == "/account/recovery-codes"
    codes = re.findall(r"\b(?:[0-9a-z]{4}-){3}[0-9a-z]{4}\b", client.get("/account/recovery-codes").text)
    return secret, codes


def test_an_app_is_set_up_and_asked_for_from_then_on(app: Flask, cast: Cast, clock: StandingClock) -> None:
    here = visiting(app, EMAIL)
    page_before = here.get("/account").text
    assert "Recovery codes" not in page_before
    secret, codes = set_up(here)
    assert len(set(codes)) == 10
    assert location(here.get("/account/recovery-codes")) == "/account"
    assert "10 left" in here.get("/account").text

    clock.advance(minutes=1)
    there = app.test_client()
    answer = sign_in(there, EMAIL, path="/sign-in?next=/projects")
    step = location(answer)
    assert step == "/sign-in/second-factor?next=/projects"
    assert there.get("/account").status_code == 303
    assert location(there.get("/projects")).startswith("/sign-in?")
    wrong = submit(there, step, {"code": "000000"})
    assert wrong.status_code == 422
    assert "This code is wrong or was already used." in wrong.text
    assert location(submit(there, step, {"code": code_at(secret, clock.now)})) == "/projects"
    assert "with a password and a second factor" in there.get("/account").text
    assert location(there.get(step)) == "/sign-in?next=/projects"


def test_the_qr_code_has_the_secret_and_no_style(app: Flask, cast: Cast) -> None:
    client = visiting(app, EMAIL)
    press(client, "/account/authenticator")
    page = client.get("/account/authenticator").text
    svg = page[: page.index('class="qr-code"')].rpartition("<svg")[2] + page.partition('class="qr-code"')[2]
    svg = svg.partition("</svg>")[0]
    assert "style" not in svg
    assert "<path" in svg
    assert secret_on(client.get("/account/authenticator").text) == secret_on(page)


def test_a_wrong_first_code_is_refused_at_the_field(app: Flask, cast: Cast) -> None:
    client = visiting(app, EMAIL)
    press(client, "/account/authenticator")
    page = submit(client, "/account/authenticator", {"code": "123"})
    assert page.status_code == 422
    assert "This is not the code of now." in page.text
    assert press(client, "/account/authenticator") == "/account/authenticator"


def test_pages_without_anything_begun_lead_back(app: Flask, cast: Cast) -> None:
    client = visiting(app, EMAIL)
    assert location(client.get("/account/authenticator")) == "/account"
    assert location(app.test_client().get("/sign-in/second-factor")) == "/sign-in?next=/"


def test_the_wait_after_wrong_codes_is_on_the_page(
    app: Flask, cast: Cast, database: Database, runtime: Runtime
) -> None:
    app_of(database, runtime.secret_box, cast.owner.user_id)
    client = app.test_client()
    step = location(sign_in(client, EMAIL))
    for _ in range(5):
        assert submit(client, step, {"code": "000000"}).status_code == 422
    late = submit(client, step, {"code": "000000"})
    assert (late.status_code, late.headers["Retry-After"]) == (429, "300")
    assert "Too many wrong codes were tried for this account. Try again in 5 minutes." in late.text


def test_a_known_device_gives_its_code_too(
    app: Flask, cast: Cast, database: Database, runtime: Runtime
) -> None:
    client = visiting(app, EMAIL)
    app_of(database, runtime.secret_box, cast.owner.user_id)
    assert client.get("/account").status_code == 303
    assert location(sign_in(client, EMAIL)).startswith("/sign-in/second-factor")
    assert client.get("/account").status_code == 303


def test_the_first_step_is_good_for_its_browser_and_its_time(
    app: Flask, cast: Cast, database: Database, runtime: Runtime, clock: StandingClock
) -> None:
    secret, _codes = app_of(database, runtime.secret_box, cast.owner.user_id)
    client = app.test_client()
    step = location(sign_in(client, EMAIL))
    form = forms_of(client.get(step))[0].fields
    stranger = app.test_client()
    token = csrf_token(stranger)
    sent = {**form, "csrf_token": token, "code": code_at(secret, START)}
    assert location(stranger.post("/sign-in/second-factor", data=sent)) == "/sign-in?next=/"
    clock.advance(minutes=10)
    answer = client.post("/sign-in/second-factor", data={**form, "code": code_at(secret, clock.now)})
    assert location(answer) == "/sign-in?next=/"
    page = client.get("/sign-in").text
    assert "This sign-in has expired, is finished, or the account has changed since. Sign in again." in page
    with database.write() as db:
        db.get_one(User, cast.owner.user_id).disabled_at = START
    assert client.get("/account").status_code == 303


def test_second_factors_are_credentials(app: Flask, cast: Cast, clock: StandingClock) -> None:
    client = visiting(app, EMAIL)
    _secret, _codes = set_up(client)
    token = csrf_token(client, "/account")
    clock.now += rules.FRESH_FOR
    for path in ("authenticator", "authenticator/confirmation", "authenticator/removal", "recovery-codes"):
        answer = client.post(f"/account/{path}", data={"csrf_token": token})
        assert location(answer).startswith("/account/confirm"), path
    assert location(client.get("/account/authenticator")).startswith("/account/confirm")


def test_removing_the_app_ends_other_sessions(app: Flask, cast: Cast, clock: StandingClock) -> None:
    here, there = visiting(app, EMAIL), app.test_client()
    _secret, codes = set_up(here)
    submit(there, location(sign_in(there, EMAIL)), {"code": codes[0]})
    assert there.get("/account").status_code == 200
    assert press(here, "/account/recovery-codes") == "/account/recovery-codes"
    assert press(here, "/account/authenticator/removal") == "/account"
    assert there.get("/account").status_code == 303
    assert location(sign_in(there, EMAIL)) == "/"
    assert "with a password</p>" in there.get("/account").text


@pytest.fixture
def required(database: Database, cast: Cast) -> None:
    """The owner's workspace requires a second factor."""
    with database.write() as db:
        db.get_one(Workspace, cast.owner.workspace_id).second_factor_required_at = START


@pytest.mark.usefixtures("required")
def test_a_workspace_that_requires_it_shows_nothing_without(app: Flask, cast: Cast) -> None:
    client = visiting(app, EMAIL)
    token, tried = csrf_token(client, "/account"), 0
    for method, path in addresses(app, cast):
        if not path.startswith((f"/projects/{cast.project_id}/", f"/workspaces/{cast.owner.workspace_id}/")):
            continue
        answer = client.open(path, method=method, data={"csrf_token": token} if method != "GET" else None)
        assert answer.status_code == 303, path
        assert location(answer).startswith("/account/second-factor?next="), path
        tried += 1
    assert tried > 20
    for path in ("/projects/new", "/workspaces/new"):
        assert location(client.get(path)).startswith("/account/second-factor?next="), path
    made = client.post("/workspaces/new", data={"csrf_token": token, "name": "Side business"})
    assert location(made).startswith("/account/second-factor?next=")
    chosen = f"/account/notifications/{cast.owner.workspace_id}"
    mailed = client.post(chosen, data={"csrf_token": token, "wanted": "y"})
    assert location(mailed).startswith("/account/second-factor?next=")
    for path in ("/account", "/projects", "/docs"):
        assert client.get(path).status_code == 200


@pytest.mark.usefixtures("required")
def test_htmx_is_led_to_the_page_too(app: Flask, cast: Cast) -> None:
    client = visiting(app, EMAIL)
    page = f"/projects/{cast.project_id}/test"
    answer = client.get(
        page, headers={"HX-Request": "true", "HX-Current-URL": f"http://localhost{page}/products"}
    )
    assert (answer.status_code, answer.text) == (204, "")
    assert answer.headers["HX-Redirect"] == f"/account/second-factor?next={page}/products"


@pytest.mark.usefixtures("required")
def test_setting_one_up_opens_the_workspace(app: Flask, cast: Cast) -> None:
    client = visiting(app, EMAIL)
    page = f"/projects/{cast.project_id}/test/products"
    asked = client.get(location(client.get(page)))
    assert "your account has none" in asked.text
    assert [each.action for each in forms_of(asked) if "authenticator" in each.action]
    set_up(client)
    assert client.get(page).status_code == 200
    assert location(client.get(f"/account/second-factor?next={page}")) == page
    client.post("/account/authenticator/removal", data={"csrf_token": csrf_token(client, "/account")})
    assert client.get(page).status_code == 303


@pytest.mark.usefixtures("required")
def test_nothing_of_it_is_named_to_a_session_that_lacks_one(
    app: Flask, cast: Cast, database: Database
) -> None:
    client = visiting(app, EMAIL)
    closed = client.get("/projects").text
    assert "Your workspace requires a second factor" in closed
    with database.write() as db:
        elsewhere, user_id = cast.stranger.workspace_id, cast.owner.user_id
        db.add(Membership(workspace_id=elsewhere, user_id=user_id, role=Role.ADMIN, created_at=START))
    pages = [client.get(path).text for path in ("/projects", "/projects/new", "/account/notifications")]
    pages.append(client.get(f"/projects/{cast.stranger.project_id}/test").text)
    assert "New project" in pages[1]
    for page in (pages[0], pages[2]):
        assert "Another workspace requires a second factor" in page
        assert "Elsewhere" in page
    assert "Their project" in pages[3]
    for hidden in ("Our workspace", "Our project", cast.project_id):
        assert [hidden in each for each in (closed, *pages)] == [False] * 5
    set_up(client)
    assert "Our project" in client.get("/projects").text


@pytest.mark.usefixtures("required")
def test_a_stranger_is_not_told_what_a_workspace_requires(app: Flask, cast: Cast) -> None:
    stranger = visiting(app, "stranger@example.com")
    assert stranger.get(f"/projects/{cast.project_id}/test").status_code == 404
    assert stranger.get(f"/workspaces/{cast.owner.workspace_id}/team").status_code == 404
    assert stranger.get(f"/projects/{cast.stranger.project_id}/test").status_code == 200
    data = {"csrf_token": csrf_token(stranger, "/account"), "wanted": "y"}
    assert stranger.post(f"/account/notifications/{cast.owner.workspace_id}", data=data).status_code == 404


def test_all_other_sessions_end_at_once(app: Flask, cast: Cast) -> None:
    here, others = visiting(app, EMAIL), [visiting(app, EMAIL) for _ in range(2)]
    colleague = visiting(app, "colleague@example.com")
    assert press(here, "/account/sessions/end-others") == "/account"
    assert "2 other sessions ended." in here.get("/account").text
    assert [each.get("/account").status_code for each in others] == [303, 303]
    assert colleague.get("/account").status_code == 200
    assert "End all other sessions" not in here.get("/account").text


def test_a_password_is_asked_before_a_code_is(
    app: Flask, cast: Cast, database: Database, runtime: Runtime
) -> None:
    """Nobody finds out by a wrong password whether a person has a second factor."""
    plain = sign_in(app.test_client(), EMAIL, "wrong password").text
    app_of(database, runtime.secret_box, cast.owner.user_id)
    client = app.test_client()
    page = sign_in(client, EMAIL, "wrong password")
    assert page.status_code == 422
    assert len(page.text) == len(plain)
    assert PASSWORD not in page.text
