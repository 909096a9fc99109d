"""Every form of the portal is taken from its own pages only."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from licenzy.db.unit_of_work import Database
from tests.server.test_http_hardening import addresses
from tests.support.cast import Cast
from tests.support.visits import csrf_token, visiting


def portal_writes(app: Flask, cast: Cast) -> list[str]:
    return [
        path
        for method, path in addresses(app, cast)
        if method not in {"GET", "HEAD", "OPTIONS"} and not path.startswith("/v1")
    ]


def everything(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """The content of every table; what a refused request must leave as it was."""
    from licenzy.db.tables import metadata

    with database.read() as db:
        return {
            table.name: sorted(map(tuple, db.execute(text(f"SELECT * FROM {table.name}")).all()), key=repr)
            for table in metadata.sorted_tables
        }


def test_no_form_is_taken_without_its_token(app: Flask, cast: Cast, database: Database) -> None:
    owner, other = visiting(app, "owner@example.com"), visiting(app, "colleague@example.com")
    others_token = csrf_token(other, "/account")
    before = everything(database)
    paths = portal_writes(app, cast)
    assert {"/sign-in", "/sign-out", "/account/password", "/projects/new"} <= set(paths)
    for path in paths:
        for token in (None, "", "nonsense", "ünicode", others_token):
            data = {} if token is None else {"csrf_token": token}
            answer = owner.post(path, data=data)
            assert answer.status_code == 403, (path, token)
            assert "not sent from a page of this session" in answer.text
    assert everything(database) == before


@pytest.mark.parametrize("by_htmx", [False, True], ids=["plain", "htmx"])
def test_a_form_sent_after_the_session_ended_leads_back_to_its_page(
    app: Flask, cast: Cast, database: Database, by_htmx: bool
) -> None:
    owner = visiting(app, "owner@example.com")
    page = f"/projects/{cast.project_id}/test/settings"
    token = csrf_token(owner, page)
    owner.post("/sign-out", data={"csrf_token": token})
    before = everything(database)
    url = f"http://localhost{page}"
    headers = {"HX-Request": "true", "HX-Current-URL": url} if by_htmx else {"Referer": url}
    answer = owner.post(f"{page}/name", data={"csrf_token": token, "name": "Other"}, headers=headers)
    assert answer.status_code == 403
    assert "Your session has ended" in answer.text
    assert "Nothing was changed." in answer.text
    assert f'href="/sign-in?next={page}">Sign in</a>' in answer.text
    assert ("<html" in answer.text) is not by_htmx
    assert everything(database) == before


def test_a_form_for_everybody_speaks_of_its_page(app: Flask, cast: Cast) -> None:
    answer = app.test_client().post("/sign-in", data={"csrf_token": "of another session"})
    assert answer.status_code == 403
    assert "Your session has ended" not in answer.text
    assert "not sent from a page of this session" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:1"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_no_form_is_taken_from_another_site_even_with_the_token(
    app: Flask, cast: Cast, database: Database, headers: dict[str, str]
) -> None:
    owner = visiting(app, "owner@example.com")
    token = csrf_token(owner, "/account")
    before = everything(database)
    for path in portal_writes(app, cast):
        answer = owner.post(path, data={"csrf_token": token, "name": "x"}, headers=headers)
        assert answer.status_code == 403, path
    assert everything(database) == before


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {"Origin": "null"}],
    ids=["none", "same-origin", "own origin", "null"],
)
def test_own_forms_are_taken(app: Flask, cast: Cast, headers: dict[str, str]) -> None:
    owner = visiting(app, "owner@example.com")
    token = csrf_token(owner, "/account")
    assert owner.post("/sign-out", data={"csrf_token": token}, headers=headers).status_code == 303


def test_htmx_may_send_the_token_as_a_header(app: Flask, cast: Cast) -> None:
    owner = visiting(app, "owner@example.com")
    found = re.search(r'"X-CSRFToken": "([^"]+)"', owner.get("/account").text)
    assert found is not None
    token = found.group(1)
    answer = owner.post("/sign-out", headers={"X-CSRFToken": token, "HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/sign-in")


def test_looking_changes_nothing(app: Flask, cast: Cast, database: Database) -> None:
    owner = visiting(app, "owner@example.com")
    before = everything(database)
    for method, path in addresses(app, cast):
        # The readiness check writes a row of its own, to learn whether that works.
        if method == "GET" and not path.startswith(("/v1", "/readyz")):
            owner.get(path)
    assert everything(database) == before


def test_a_form_larger_than_any_of_ours_is_not_read(client: FlaskClient, cast: Cast) -> None:
    token = csrf_token(client)
    answer = client.post("/sign-in", data={"csrf_token": token, "email": "x" * 300_000})
    assert answer.status_code == 413
    assert "The form is larger than the server accepts." in answer.text
