"""Who may open what: strangers, members, roles; and how htmx is answered."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import col, select
from werkzeug.exceptions import NotFound

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import show
from licenzy.workspace.models import AuditEntry, Role
from tests.support.cast import Cast
from tests.support.clock import StandingClock
from tests.support.visits import visiting


@pytest.fixture
def pages(app: Flask) -> None:
    """A page for viewers and one for owners, hung on the application under test."""

    @project_page(Role.VIEWER)
    def looking(side: Side) -> str:
        return f"{side.project.name} {side.mode} {side.role} {side.may('admin')}"

    @project_page(Role.OWNER)
    def ruling(side: Side) -> str:
        return "the owner's"

    app.add_url_rule("/projects/<project_id>/<mode:mode>/looking", "portal.project.looking_of_test", looking)
    app.add_url_rule("/projects/<project_id>/<mode:mode>/ruling", "portal.project.ruling_of_test", ruling)


@pytest.mark.usefixtures("pages")
def test_members_see_their_project_in_either_mode(app: Flask, cast: Cast) -> None:
    owner, colleague = visiting(app, "owner@example.com"), visiting(app, "colleague@example.com")
    path = f"/projects/{cast.project_id}"
    assert owner.get(f"{path}/test/looking").text == "Our project test owner True"
    assert owner.get(f"{path}/live/looking").text == "Our project live owner True"
    assert colleague.get(f"{path}/test/looking").text == "Our project test viewer False"


@pytest.mark.usefixtures("pages")
def test_a_role_too_low_is_refused_with_its_name(app: Flask, cast: Cast) -> None:
    colleague = visiting(app, "colleague@example.com")
    page = colleague.get(f"/projects/{cast.project_id}/test/ruling")
    assert page.status_code == 403
    assert "This needs the role owner, and your role in this project is viewer." in page.text


def test_a_project_page_that_names_no_role_is_refused(app: Flask, cast: Cast) -> None:
    path = "/projects/<project_id>/<mode:mode>/unmarked"
    app.add_url_rule(path, "portal.project.unmarked_of_test", lambda side: "shown")
    owner = visiting(app, "owner@example.com")
    assert owner.get(f"/projects/{cast.project_id}/test/unmarked").status_code == 403


@pytest.mark.usefixtures("pages")
def test_a_refused_role_is_one_row_in_the_audit_log_for_each_page_and_hour(
    app: Flask, cast: Cast, database: Database, clock: StandingClock
) -> None:
    colleague, owner = visiting(app, "colleague@example.com"), visiting(app, "owner@example.com")
    path = f"/projects/{cast.project_id}"

    def refused() -> list[AuditEntry]:
        with database.read() as db:
            wanted = AuditEntry.action == "role.refused"
            return list(db.exec(select(AuditEntry).where(wanted).order_by(col(AuditEntry.id))))

    assert owner.get(f"{path}/test/ruling").status_code == 200
    assert colleague.get(f"{path}/test/looking").status_code == 200
    assert refused() == []
    assert colleague.get(f"{path}/test/ruling").status_code == 403
    (row,) = refused()
    assert (row.actor_user_id, row.ip) == (cast.colleague.user_id, "127.0.0.1")
    assert (row.about, row.project_id, row.mode) == ("ruling_of_test", cast.project_id, Mode.TEST)
    assert row.workspace_id == cast.colleague.workspace_id
    assert row.after == {"role": "viewer", "needed": "owner"}
    for _ in range(3):
        assert colleague.get(f"{path}/test/ruling").status_code == 403
    assert len(refused()) == 1
    assert colleague.get(f"{path}/live/ruling").status_code == 403
    assert colleague.get("/projects/new").status_code == 403
    assert [(each.about, each.mode) for each in refused()[1:]] == [
        ("ruling_of_test", Mode.LIVE),
        ("new_project", None),
    ]
    clock.advance(hours=1)
    assert colleague.get(f"{path}/test/ruling").status_code == 403
    assert len(refused()) == 4


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize("mode", ["TEST", "both", "tests", "%00", "..", "test%2f.."])
def test_there_are_two_modes_and_no_others(app: Flask, cast: Cast, mode: str) -> None:
    owner = visiting(app, "owner@example.com")
    assert owner.get(f"/projects/{cast.project_id}/{mode}/looking").status_code == 404


@pytest.mark.parametrize(
    "word",
    ["x", "att_", f"sbj_{'0' * 25}", f"sbj_{'0' * 27}", f"sbj_{'0' * 25}u", f"key_{'0' * 26}", "sbj_%00"],
)
def test_what_cannot_be_an_id_has_no_address(app: Flask, cast: Cast, word: str) -> None:
    adapter = app.url_map.bind("localhost")
    for path in (f"/projects/{cast.project_id}/test/customers/{word}", f"/projects/{word}/test/customers"):
        with pytest.raises(NotFound):
            adapter.match(path)
        assert visiting(app, "owner@example.com").get(path).status_code == 404


def test_htmx_is_sent_to_the_sign_in_page_as_a_whole(client: FlaskClient, cast: Cast) -> None:
    page = {"HX-Request": "true", "HX-Current-URL": "http://localhost/projects/new?a=b"}
    answer = client.get("/account", headers=page)
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"] == "/sign-in?next=/projects/new?a%3Db"
    elsewhere = {"HX-Request": "true", "HX-Current-URL": "https://evil.example/"}
    assert client.get("/account", headers=elsewhere).headers["HX-Redirect"] == "/sign-in?next=/"


def test_errors_reach_htmx_as_a_notice(app: Flask, cast: Cast) -> None:
    owner = visiting(app, "owner@example.com")
    answer = owner.get("/nothing", headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert answer.headers["HX-Retarget"] == "#notices"
    assert "<html" not in answer.text
    assert "Page not found" in answer.text


@pytest.mark.parametrize(
    ("headers", "whole"),
    [
        ({}, True),
        ({"HX-Request": "true"}, False),
        ({"HX-Request": "true", "HX-Boosted": "true"}, True),
        ({"HX-Request": "true", "HX-History-Restore-Request": "true"}, True),
    ],
    ids=["browser", "htmx", "boosted", "history"],
)
def test_a_fragment_is_for_htmx_alone(app: Flask, headers: dict[str, str], whole: bool) -> None:
    with app.test_request_context("/", headers=headers):
        answer = show("access/unclaimed.html", "components/_notices.html", status=286)
    assert ("<html" in answer.get_data(as_text=True)) is whole
    assert answer.status_code == (200 if whole else 286)
    assert "HX-Request" in answer.headers["Vary"]


@pytest.mark.parametrize("rest", ["nothing", "customers/sbj_malformed", "events/a/b"])
def test_an_unknown_page_of_a_project_leads_back_to_it(app: Flask, cast: Cast, rest: str) -> None:
    page = visiting(app, cast.owner.email).get(f"/projects/{cast.project_id}/live/{rest}")
    assert page.status_code == 404
    assert f'href="/projects/{cast.project_id}/live">Back to the project</a>' in page.text


@pytest.mark.parametrize("path", ["/nothing", "/projects/prj_malformed/live/x", "/projects/x/test/customers"])
def test_an_unknown_page_elsewhere_leads_to_the_start(app: Flask, cast: Cast, path: str) -> None:
    page = visiting(app, cast.owner.email).get(path)
    assert page.status_code == 404
    assert 'href="/">Go to the start page</a>' in page.text


def test_a_foreign_project_is_not_named(app: Flask, cast: Cast) -> None:
    page = visiting(app, cast.owner.email).get(f"/projects/{cast.stranger.project_id}/test/customers")
    assert page.status_code == 404
    assert 'href="/">Go to the start page</a>' in page.text
