"""The pages of archiving a project, of an archived one, and of deleting it."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.projects.models import Project
from licenzy.runtime import Runtime
from licenzy.workspace.models import Membership, Role
from tests.portal.set_up_side import SidePages, side_pages
from tests.portal.test_accessibility import EMPTY
from tests.support.cast import Cast, make_connection, make_project
from tests.support.visits import csrf_token, location, submit, visiting


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


def archived(database: Database, cast: Cast) -> bool:
    with database.read() as db:
        return db.get_one(Project, cast.project_id).archived_at is not None


def test_a_project_without_a_live_connection_is_archived_by_a_second_click(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    assert pages.send("/settings", "/settings/archive", {}).status_code == 303
    assert archived(database, cast)
    assert "This project is archived." in pages.get("/customers").text
    assert pages.send("/settings", "/settings/unarchive", {}).status_code == 303
    assert not archived(database, cast)


def test_with_a_live_connection_the_name_is_typed(
    pages: SidePages, runtime: Runtime, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
    refused = pages.send("/settings", "/settings/archive", {"typed": "our project"})
    assert refused.status_code == 422
    assert "That is not the project’s name." in refused.text
    assert not archived(database, cast)
    assert pages.send("/settings", "/settings/archive", {"typed": "Our project"}).status_code == 303
    assert archived(database, cast)


def test_everything_of_an_archived_project_is_readable(pages: SidePages) -> None:
    paths = [path for path in EMPTY if path not in {"/lab"}]
    before = {path: pages.get(path).status_code for path in paths}
    pages.send("/settings", "/settings/archive", {})
    assert {path: pages.get(path).status_code for path in paths} == before


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/settings/name", {"name": "Other"}),
        ("/api-keys", {"name": "late"}),
        ("/settings/archive", {}),
        ("/connection/sandbox", {}),
        ("/products/new", {}),
    ],
)
def test_nothing_of_an_archived_project_can_be_changed(
    pages: SidePages, path: str, values: dict[str, str]
) -> None:
    token = csrf_token(pages.client, "/account")
    pages.send("/settings", "/settings/archive", {})
    answer = pages.client.post(pages.base + path, data={"csrf_token": token, **values})
    assert answer.status_code == 409
    assert "This project is archived, so nothing in it can be changed." in answer.text
    assert "Unarchive it on its settings page first." in answer.text


def test_who_may_archive_and_delete(app: Flask, cast: Cast, database: Database) -> None:
    colleague = side_pages(app, cast, email=cast.colleague.email)
    data = {"csrf_token": csrf_token(colleague.client, "/account"), "typed": "Our project"}
    assert "Archive project" not in colleague.get("/settings").text
    assert colleague.client.post(f"{colleague.base}/settings/archive", data=data).status_code == 403
    with database.write() as db:
        db.get_one(Membership, (cast.owner.workspace_id, cast.colleague.user_id)).role = Role.ADMIN
    assert colleague.send("/settings", "/settings/archive", {}).status_code == 303
    assert "Delete project" not in colleague.get("/settings").text
    assert colleague.client.post(f"{colleague.base}/settings/deletion", data=data).status_code == 403
    stranger = side_pages(app, cast, email=cast.stranger.email)
    data["csrf_token"] = csrf_token(stranger.client, "/account")
    for action in ("archive", "unarchive", "deletion"):
        assert stranger.client.post(f"{stranger.base}/settings/{action}", data=data).status_code == 404
    assert archived(database, cast)


def test_an_owner_deletes_an_archived_project(pages: SidePages, database: Database, cast: Cast) -> None:
    typed = {"csrf_token": csrf_token(pages.client, "/account"), "typed": "Our project"}
    assert "Delete project" not in pages.get("/settings").text
    early = pages.client.post(f"{pages.base}/settings/deletion", data=typed)
    assert location(early) == f"{pages.base}/settings"
    assert "Only an archived project can be deleted. Archive it first." in pages.get("/settings").text
    pages.send("/settings", "/settings/archive", {})
    wrong = pages.send("/settings", "/settings/deletion", {"typed": "Another"})
    assert wrong.status_code == 422
    assert location(pages.send("/settings", "/settings/deletion", {"typed": "Our project"})) == "/projects"
    for path in ("", "/customers", "/settings"):
        assert pages.get(path).status_code == 404
    text = pages.client.get("/projects").text
    assert "The project “Our project” is deleted." in text
    assert "No projects yet" in text


def test_the_list_keeps_workspaces_and_archived_projects_apart(
    app: Flask, cast: Cast, database: Database
) -> None:
    with database.write() as db:
        make_project(db, workspace_id=cast.owner.workspace_id, name="Second one")
        since = db.get_one(Membership, (cast.stranger.workspace_id, cast.stranger.user_id)).created_at
        there, user_id = cast.stranger.workspace_id, cast.owner.user_id
        db.add(Membership(workspace_id=there, user_id=user_id, role=Role.VIEWER, created_at=since))
    pages = side_pages(app, cast)
    pages.send("/settings", "/settings/archive", {})
    text = pages.client.get("/projects").text
    order = ["Our workspace", "Second one", "Archived projects (1)", "Our project", "Elsewhere"]
    places = [text.index(f">{each}") for each in order]
    assert places == sorted(places)
    # Not offered where one switches projects, unless one is there.
    assert "Our project" not in pages.client.get(f"/projects/{cast.stranger.project_id}/test").text


def test_a_project_is_made_in_the_chosen_workspace(app: Flask, cast: Cast, database: Database) -> None:
    client = visiting(app, cast.owner.email)
    page = location(submit(client, "/workspaces/new", {"name": "Side business"}))
    workspace_id = page.split("/")[2]
    form = client.get(f"/projects/new?workspace={workspace_id}").text
    assert f'selected value="{workspace_id}"' in form
    for chosen, status in ((workspace_id, 303), (cast.stranger.workspace_id, 422)):
        data = {"csrf_token": csrf_token(client, "/account"), "name": "Made", "workspace": chosen}
        assert client.post("/projects/new", data=data).status_code == status
    with database.read() as db:
        homes = [each.workspace_id for each in db.exec(select(Project).where(Project.name == "Made"))]
    assert homes == [workspace_id]
