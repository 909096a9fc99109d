from __future__ import annotations

import re

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.api_keys.queries import key_by_hash, keys
from licenzy.api_keys.rules import presented_hash
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_key
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
