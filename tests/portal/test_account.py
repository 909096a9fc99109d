"""My account: the password, the sessions, and giving the password once more."""

from __future__ import annotations

from datetime import datetime

import pytest
from flask import Flask

from licenzy.db.unit_of_work import Database
from licenzy.portal.guards import fresh, signed_in
from licenzy.workspace import queries, rules
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import StandingClock
from tests.support.visits import csrf_token, location, sign_in, submit, visiting

NEW = "an entirely new one"


def test_changing_the_password_signs_other_browsers_out(app: Flask, cast: Cast) -> None:
    here, there = visiting(app, "owner@example.com"), visiting(app, "owner@example.com")
    answer = submit(here, "/account", {"current": PASSWORD, "new": NEW})
    assert location(answer) == "/account"
    assert "Password changed. 1 other session ended." in here.get("/account").text
    assert there.get("/account").status_code == 303
    assert sign_in(app.test_client(), "owner@example.com", PASSWORD).status_code == 422
    assert sign_in(app.test_client(), "owner@example.com", NEW).status_code == 303


@pytest.mark.parametrize(
    ("current", "new", "sentence"),
    [
        ("wrong", NEW, "This is not your current password."),
        (PASSWORD, "short", "Use at least 8 characters."),
        (PASSWORD, "", "Enter a new password."),
    ],
)
def test_a_refused_change_says_why_at_the_field(
    app: Flask, cast: Cast, current: str, new: str, sentence: str
) -> None:
    client = visiting(app, "owner@example.com")
    page = submit(client, "/account", {"current": current, "new": new})
    assert page.status_code == 422
    assert sentence in page.text
    assert "<html" in page.text
    fragment = submit(client, "/account", {"current": current, "new": new}, headers={"HX-Request": "true"})
    assert fragment.status_code == 422
    assert sentence in fragment.text
    assert "<html" not in fragment.text
    assert fragment.text.lstrip().startswith('<form id="password-form"')


def test_one_can_end_ones_other_sessions_and_nobody_elses(app: Flask, cast: Cast, database: Database) -> None:
    here, there = visiting(app, "owner@example.com"), visiting(app, "owner@example.com")
    foreign = visiting(app, "colleague@example.com")
    with database.read() as db:
        theirs = queries.sessions_of(db, user_id=cast.colleague.user_id, now=rules_now(app))[0].id
        mine = {s.id for s in queries.sessions_of(db, user_id=cast.owner.user_id, now=rules_now(app))}
    page = here.get("/account").text
    other = next(session_id for session_id in mine if f"/account/sessions/{session_id}/end" in page)
    token = csrf_token(here, "/account")
    assert here.post(f"/account/sessions/{theirs}/end", data={"csrf_token": token}).status_code == 404
    assert foreign.get("/account").status_code == 200
    assert here.post(f"/account/sessions/{other}/end", data={"csrf_token": token}).status_code == 303
    assert there.get("/account").status_code == 303
    assert here.get("/account").status_code == 200


def rules_now(app: Flask) -> datetime:
    now: datetime = app.extensions["licenzy"].clock()
    return now


@pytest.fixture
def credentials_page(app: Flask) -> str:
    """A page that changes credentials, hung on the application under test."""

    @signed_in
    @fresh
    def credentials(user: object) -> str:
        return "the credentials"

    app.add_url_rule("/credentials", "portal.credentials_of_test", credentials, methods=["GET", "POST"])
    return "/credentials"


def test_credentials_need_a_password_given_recently(
    app: Flask, credentials_page: str, cast: Cast, clock: StandingClock
) -> None:
    client = visiting(app, "owner@example.com")
    assert client.get(credentials_page).text == "the credentials"
    clock.now += rules.FRESH_FOR
    asked = client.get(credentials_page)
    assert location(asked) == "/account/confirm?next=/credentials"
    token = csrf_token(client, "/account")
    assert client.post(credentials_page, data={"csrf_token": token}).status_code == 303

    wrong = submit(client, "/account/confirm?next=/credentials", {"password": "wrong"})
    assert wrong.status_code == 422
    assert client.get(credentials_page).status_code == 303

    right = submit(client, "/account/confirm?next=/credentials", {"password": PASSWORD})
    assert location(right) == "/credentials"
    assert client.get(credentials_page).text == "the credentials"


def test_giving_the_password_once_more_is_throttled_for_this_session_alone(
    app: Flask, cast: Cast, clock: StandingClock
) -> None:
    here, there = visiting(app, "owner@example.com"), visiting(app, "owner@example.com")
    for _ in range(80):  # Strangers at the same address, with names of nobody.
        sign_in(app.test_client(), "nobody@example.com", "wrong")
    for _ in range(20):
        assert submit(here, "/account/confirm", {"password": "wrong"}).status_code == 422
    late = submit(here, "/account/confirm", {"password": PASSWORD})
    assert (late.status_code, late.headers["Retry-After"]) == (429, "60")
    assert "Too many wrong passwords were tried in this session. Try again in 60 seconds." in late.text
    change = {"current": PASSWORD, "new": NEW}
    by_htmx = submit(here, "/account", change, headers={"HX-Request": "true"})
    assert (by_htmx.status_code, by_htmx.headers["Retry-After"]) == (429, "60")
    assert by_htmx.text.lstrip().startswith('<form id="password-form"')
    assert submit(there, "/account/confirm", {"password": PASSWORD}).status_code == 303
    clock.advance(minutes=1)
    assert submit(here, "/account", change).status_code == 303


def test_confirming_leads_nowhere_else(app: Flask, cast: Cast) -> None:
    client = visiting(app, "owner@example.com")
    answer = submit(client, "/account/confirm?next=//evil.example", {"password": PASSWORD})
    assert location(answer) == "/"
