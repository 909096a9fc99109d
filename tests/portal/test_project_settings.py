from __future__ import annotations

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.projects.models import Project
from licenzy.projects.queries import mode_settings
from licenzy.projects.scope import Scope
from licenzy.workspace.models import AuditEntry
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast
from tests.support.clock import START


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


def test_returns_are_saved_for_one_mode(pages: SidePages, database: Database, cast: Cast) -> None:
    values = {
        "success_url": " https://app.example.com/ok?s={CHECKOUT_SESSION_ID} ",
        "cancel_url": "",
        "redirect_hosts": "App.Example.com\n\napp.example.com",
    }
    answer = pages.send("/settings", "/settings/returns", values)
    assert answer.status_code == 303, answer.text
    with database.read() as db:
        test = mode_settings(db, Scope(cast.project_id, Mode.TEST))
        live = mode_settings(db, Scope(cast.project_id, Mode.LIVE))
    assert test.success_url == "https://app.example.com/ok?s={CHECKOUT_SESSION_ID}"
    assert (test.cancel_url, test.redirect_hosts) == (None, ["app.example.com"])
    assert (live.success_url, live.redirect_hosts) == (None, [])


def test_known_customers_are_adopted_only_once_chosen(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    assert "Anyone who can create a subscription" in pages.get("/settings").text
    for value, expected in (("y", True), ("", False)):
        sent = {"adopt_known_customers": value}
        with database.read() as db:
            assert db.get_one(Project, cast.project_id).adopt_known_customers is not expected
        assert pages.send("/settings", "/settings/known-customers", sent).status_code == 303
        with database.read() as db:
            assert db.get_one(Project, cast.project_id).adopt_known_customers is expected
    with database.read() as db:
        told = db.exec(select(AuditEntry).where(AuditEntry.action == "project.known_customers_changed")).all()
    assert [each.after for each in told] == [
        {"adopt_known_customers": True},
        {"adopt_known_customers": False},
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("success_url", "javascript:alert(1)"),
        ("success_url", "http://app.example.com/"),
        ("success_url", "//app.example.com/"),
        ("cancel_url", "https://user:pass@app.example.com/"),
        ("cancel_url", "nonsense"),
        ("redirect_hosts", "https://app.example.com"),
        ("redirect_hosts", "app.example.com:443"),
        ("redirect_hosts", "<script>"),
    ],
)
def test_addresses_that_checkouts_would_refuse_are_refused_here(
    pages: SidePages, field: str, value: str
) -> None:
    answer = pages.send("/settings", "/settings/returns", {"redirect_hosts": "", field: value}, htmx=True)
    assert answer.status_code == 422
    assert answer.text.lstrip().startswith("<form")
    assert "field-error" in answer.text


def test_a_default_must_be_on_one_of_the_hosts(pages: SidePages) -> None:
    values = {"success_url": "https://other.example.com/", "redirect_hosts": "app.example.com"}
    answer = pages.send("/settings", "/settings/returns", values)
    assert answer.status_code == 422
    assert "redirect hosts" in answer.text


def test_the_name_is_changed_in_both_modes(pages: SidePages, app: Flask, cast: Cast) -> None:
    assert pages.send("/settings", "/settings/name", {"name": "Tea <b>"}).status_code == 303
    page = side_pages(app, cast, mode="live").get("/settings").text
    assert "Tea &lt;b&gt;" in page
    assert "Tea <b>" not in page


def test_a_project_keeps_a_name(pages: SidePages) -> None:
    assert pages.send("/settings", "/settings/name", {"name": "  "}).status_code == 422


def test_the_default_unit_is_chosen_for_one_mode_until_a_call_names_none(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    test = Scope(cast.project_id, Mode.TEST)
    page = pages.get("/settings").text
    assert "Such calls have been made, so this cannot be changed" in page
    assert "settings/default-unit" not in page
    with database.write() as db:
        mode_settings(db, test).default_unit_used_at = None
    refused = pages.send("/settings", "/settings/default-unit", {"default_unit": "a-b"}, htmx=True)
    assert refused.status_code == 422
    assert "Use 1 to 32 lower-case letters, digits or _" in refused.text
    form = pages.form("/settings", "/settings/default-unit")
    saved = pages.send("/settings", "/settings/default-unit", {"default_unit": " images "})
    assert saved.status_code == 303
    with database.write() as db:
        side = mode_settings(db, test)
        assert side.default_unit == "images"
        assert mode_settings(db, Scope(cast.project_id, Mode.LIVE)).default_unit == "units"
        side.default_unit_used_at = START
    late = pages.client.post(form.action, data={**form.fields, "default_unit": "pages"})
    assert late.status_code == 422
    assert "Calls without a unit have drawn images" in late.text
    assert "<strong>images</strong>" in pages.get("/settings").text
