"""The list of projects and making a new one."""

from __future__ import annotations

from flask import Flask

from licenzy.db.unit_of_work import Database
from licenzy.projects.queries import projects_for
from tests.support.cast import Cast
from tests.support.visits import csrf_token, location, submit, visiting


def test_the_list_holds_the_projects_one_may_see(app: Flask, cast: Cast) -> None:
    page = visiting(app, "owner@example.com").get("/projects").text
    assert "Our project" in page
    assert f"/projects/{cast.project_id}/live" in page
    assert "Their project" not in page


def test_making_a_project_leads_to_its_set_up_in_test_mode(
    app: Flask, cast: Cast, database: Database
) -> None:
    client = visiting(app, "owner@example.com")
    answer = submit(client, "/projects/new", {"name": "<b>Bold</b>"})
    with database.read() as db:
        made = projects_for(db, user_id=cast.owner.user_id)[-1][0]
    assert made.name == "<b>Bold</b>"
    assert location(answer) == f"/projects/{made.id}/test/setup"
    page = client.get("/projects").text
    assert "&lt;b&gt;Bold&lt;/b&gt;" in page
    assert "<b>Bold" not in page


def test_a_project_needs_a_name(app: Flask, cast: Cast) -> None:
    page = submit(visiting(app, "owner@example.com"), "/projects/new", {"name": "   "})
    assert page.status_code == 422
    assert "Enter a name." in page.text


def test_viewers_make_no_projects(app: Flask, cast: Cast, database: Database) -> None:
    colleague = visiting(app, "colleague@example.com")
    assert "/projects/new" not in colleague.get("/projects").text
    assert colleague.get("/projects/new").status_code == 403
    data = {"csrf_token": csrf_token(colleague, "/account"), "name": "Mine"}
    assert colleague.post("/projects/new", data=data).status_code == 403
    with database.read() as db:
        assert len(projects_for(db, user_id=cast.colleague.user_id)) == 1


def test_fields_that_the_form_has_not_are_ignored(app: Flask, cast: Cast, database: Database) -> None:
    client = visiting(app, "owner@example.com")
    data = {
        "csrf_token": csrf_token(client, "/projects/new"),
        "name": "Honest",
        "workspace_id": cast.stranger.workspace_id,
        "id": "prj_chosen",
        "role": "owner",
        "mode": "live",
    }
    client.post("/projects/new", data=data)
    with database.read() as db:
        mine = [project.name for project, _ in projects_for(db, user_id=cast.owner.user_id)]
        theirs = [project.name for project, _ in projects_for(db, user_id=cast.stranger.user_id)]
    assert mine == ["Our project", "Honest"]
    assert theirs == ["Their project"]
