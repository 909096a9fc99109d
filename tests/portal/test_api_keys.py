from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.api_keys.queries import key_by_hash, keys
from licenzy.api_keys.refusals import RefusedCall, keep_refusals
from licenzy.api_keys.rules import presented_hash
from licenzy.db.unit_of_work import Database
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.workspace.models import Workspace
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_key
from tests.support.clock import START, StandingClock
from tests.support.visits import location


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize("page", ["/api-keys", "/setup/api-key"])
def test_a_key_is_shown_once(pages: SidePages, database: Database, page: str, htmx: bool) -> None:
    answer = pages.send(page, "/api-keys", {"name": "backend"}, htmx=htmx)
    assert answer.status_code == (201 if htmx else 303)
    if not htmx:
        assert location(answer) == pages.base + page
        answer = pages.get(page)
    assert answer.headers["Cache-Control"] == "no-store"
    (token,) = set(re.findall(r"lz_test_[0-9A-Za-z]{49}", answer.text))
    with database.read() as db:
        assert key_by_hash(db, presented_hash(token)) is not None
    for path in ("/api-keys", "/setup/api-key", ""):
        assert token not in pages.get(path).text
    assert ("<html" in answer.text) is not htmx


def test_the_curl_shown_with_it_holds_the_key_and_the_address(pages: SidePages) -> None:
    page = pages.send("/api-keys", "/api-keys", {"name": "backend"}, htmx=True).text
    assert re.search(r"curl -sS http://127\.0\.0\.1:\d+/v1/access/check", page)
    assert re.search(r"Authorization: Bearer lz_test_[0-9A-Za-z]{49}", page)


@pytest.mark.parametrize("name", ["", "  ", "x" * 81])
def test_a_key_without_a_good_name_is_refused(pages: SidePages, name: str) -> None:
    answer = pages.send("/api-keys", "/api-keys", {"name": name}, htmx=True)
    assert answer.status_code == 422
    assert "field-error" in answer.text
    assert "<html" not in answer.text


def test_names_are_text(pages: SidePages) -> None:
    page = pages.send("/api-keys", "/api-keys", {"name": "<b>x</b>\"'"}, htmx=True).text
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x" in page


def test_a_key_is_revoked(pages: SidePages, database: Database, cast: Cast) -> None:
    with database.write() as db:
        make_key(db, project_id=cast.project_id)
    assert pages.send("/api-keys", "/revocation", {}).status_code == 303
    with database.read() as db:
        (key,) = keys(db, Scope(cast.project_id, Mode.TEST))
    assert key.revoked_at is not None
    assert "revoked" in pages.get("/api-keys").text


def test_in_live_the_key_s_name_must_be_typed(app: Flask, database: Database, cast: Cast) -> None:
    with database.write() as db:
        make_key(db, project_id=cast.project_id, mode=Mode.LIVE, name="shop")
    live = side_pages(app, cast, mode="live")
    refused = live.send("/api-keys", "/revocation", {"typed": "Shop"})
    assert refused.status_code == 422
    assert "not the key’s name" in refused.text
    assert live.send("/api-keys", "/revocation", {"typed": "shop"}).status_code == 303


def test_scopes_and_the_last_day_are_chosen(pages: SidePages, database: Database, cast: Cast) -> None:
    values = {"name": "grafana", "scopes": ["read", "audit"], "last_day": "2031-03-09"}
    assert pages.send("/api-keys", "/api-keys", values).status_code == 303
    with database.read() as db:
        (key,) = keys(db, Scope(cast.project_id, Mode.TEST))
    assert key.scopes == "read audit"
    assert key.expires_at == datetime(2031, 3, 9, 23, 59, 59, 999999, UTC)
    for path in ("/api-keys", f"/api-keys/{key.id}"):
        page = pages.get(path).text
        assert '<code class="scope">read</code> <code class="scope">audit</code>' in page
        assert "9 March 2031" in page or "9 Mar 2031" in page, path


def test_a_key_may_live_as_long_as_the_calendar(pages: SidePages, database: Database, cast: Cast) -> None:
    with database.write() as db:
        db.get_one(Workspace, cast.owner.workspace_id).time_zone = "Asia/Tokyo"
    assert pages.send("/api-keys", "/api-keys", {"name": "k", "last_day": "9999-12-31"}).status_code == 303
    with database.read() as db:
        (key,) = keys(db, Scope(cast.project_id, Mode.TEST))
    for path in ("/api-keys", f"/api-keys/{key.id}"):
        assert "9999" in pages.get(path).text, path


@pytest.mark.parametrize(
    "wrong", [{"scopes": []}, {"scopes": ["admin"]}, {"last_day": "2001-01-01"}, {"last_day": "soon"}]
)
def test_wrong_scopes_and_days_are_refused(
    pages: SidePages, database: Database, cast: Cast, wrong: dict[str, Any]
) -> None:
    assert pages.send("/api-keys", "/api-keys", {"name": "k", **wrong}).status_code == 422
    with database.read() as db:
        assert keys(db, Scope(cast.project_id, Mode.TEST)) == []


def test_the_wizard_makes_a_key_for_a_backend_and_needs_one(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        make_key(db, project_id=cast.project_id, scopes="read audit")
    assert "Never called" not in pages.get("/setup/api-key").text
    assert pages.send("/setup/api-key", "/api-keys", {"name": "k", "scopes": "audit"}).status_code == 303
    with database.read() as db:
        assert sorted(key.scopes for key in keys(db, Scope(cast.project_id, Mode.TEST))) == [
            "read audit",
            "runtime",
        ]


def test_a_key_is_rotated_and_shown_once(pages: SidePages, database: Database, cast: Cast) -> None:
    with database.write() as db:
        old, _ = make_key(db, project_id=cast.project_id, name="backend", last_used_at=START)
    page = f"/api-keys/{old.id}"
    answer = pages.send(page, "/rotation", {"overlap": "168"})
    assert answer.status_code == 303
    shown = pages.client.get(location(answer)).text
    (token,) = set(re.findall(r"lz_test_[0-9A-Za-z]{49}", shown))
    with database.read() as db:
        new = key_by_hash(db, presented_hash(token))
        before = key_by_hash(db, old.key_hash)
    assert new is not None
    assert before is not None
    assert location(answer).endswith(f"/api-keys/{new.id}")
    assert before.replaced_by == new.id
    listed = pages.get("/api-keys").text
    assert "replaced by" in listed
    assert "works until" in listed
    assert "is still used" not in listed
    assert token not in pages.get(f"/api-keys/{new.id}").text + listed
    assert f"/api-keys/{old.id}" in pages.get(f"/api-keys/{new.id}").text
    assert "Rotate key" not in pages.get(page).text, "it was replaced already"
    form = pages.form(page, "/revocation")
    again = pages.client.post(
        form.action.replace("revocation", "rotation"), data={**form.fields, "overlap": "0"}
    )
    assert again.status_code == 422
    assert "replaced already" in again.text


def test_a_replaced_key_that_is_used_is_warned_of(
    pages: SidePages, database: Database, cast: Cast, clock: StandingClock
) -> None:
    with database.write() as db:
        new, _ = make_key(db, project_id=cast.project_id, now=START)
        old, _ = make_key(
            db,
            project_id=cast.project_id,
            replaced_by=new.id,
            expires_at=START + timedelta(days=1),
            last_used_at=START + timedelta(minutes=1),
        )
    assert "is still used" in pages.get("/api-keys").text
    assert "This key is still used" in pages.get(f"/api-keys/{old.id}").text
    clock.advance(days=2)
    assert "is still used" not in pages.get("/api-keys").text


def test_refused_calls_are_shown_and_found(pages: SidePages, database: Database, cast: Cast) -> None:
    scope = Scope(cast.project_id, Mode.TEST)
    ids = [new_id("req") for _ in range(3)]
    with database.write() as db:
        key, _ = make_key(db, project_id=cast.project_id, revoked_at=START)
        calls = [RefusedCall(each, START, 401, "api_key_revoked", "POST", "/v1/access/check") for each in ids]
        keep_refusals(db, scope, key_id=key.id, calls=calls)
        quiet, _ = make_key(db, project_id=cast.project_id)
    page = f"/api-keys/{key.id}"
    assert all(each in pages.get(page).text for each in ids)
    assert "/docs/errors#api_key_revoked-401" in pages.get(page).text
    found = pages.get(f"/search?q={ids[1]}")
    assert found.status_code == 303
    narrowed = pages.client.get(location(found)).text
    assert ids[1] in narrowed
    assert ids[0] not in narrowed
    assert "No refused call has this request id" in pages.get(f"{page}?q={new_id('req')}").text
    assert "No refused calls" in pages.get(f"/api-keys/{quiet.id}").text
    assert location(pages.get(f"/search?q={key.id}")).endswith(page)


def test_in_live_the_name_must_be_typed_on_the_page_of_the_key_too(
    app: Flask, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        key, _ = make_key(db, project_id=cast.project_id, mode=Mode.LIVE, name="shop")
    live, page = side_pages(app, cast, mode="live"), f"/api-keys/{key.id}"
    refused = live.send(page, "/revocation", {"typed": "Shop"})
    assert refused.status_code == 422
    assert "Refused calls" in refused.text
    assert live.send(page, "/revocation", {"typed": "shop"}).status_code == 303
