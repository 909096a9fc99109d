"""Projects and their two sides, on both databases."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects import actions, queries
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry, Role
from tests.support.cast import Cast
from tests.support.clock import START


def test_a_new_project_has_both_sides_and_nothing_chosen(database: Database, cast: Cast) -> None:
    actor = Actor(cast.owner.user_id, "192.0.2.1")
    with database.write() as db:
        project = actions.create_project(
            db, actor=actor, workspace_id=cast.owner.workspace_id, name="  Night   Sky ", now=START
        )
    with database.read() as db:
        found = queries.project_for(db, user_id=cast.colleague.user_id, project_id=project.id)
        sides = [queries.mode_settings(db, Scope(project.id, mode)) for mode in Mode]
        entry = db.exec(select(AuditEntry)).one()
    assert found is not None
    assert (found[0].name, found[1]) == ("Night Sky", Role.VIEWER)
    assert [(side.success_url, side.cancel_url, side.redirect_hosts) for side in sides] == [
        (None, None, [])
    ] * 2
    assert (entry.action, entry.project_id, entry.after) == (
        "project.created",
        project.id,
        {"name": "Night Sky"},
    )


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "\n", "\u200b", "a\u202eb"])
def test_a_name_has_1_to_80_characters_that_show(database: Database, cast: Cast, name: str) -> None:
    with database.write() as db, pytest.raises(InvalidRequest) as refusal:
        actions.rename_project(
            db, actor=Actor(cast.owner.user_id), project_id=cast.project_id, name=name, now=START
        )
    assert "name" in refusal.value.fields


def test_people_see_the_projects_of_their_workspaces_only(database: Database, cast: Cast) -> None:
    with database.read() as db:
        ours = queries.projects_for(db, user_id=cast.owner.user_id)
        theirs = queries.projects_for(db, user_id=cast.stranger.user_id)
        foreign = queries.project_for(db, user_id=cast.stranger.user_id, project_id=cast.project_id)
        missing = queries.project_for(db, user_id=cast.stranger.user_id, project_id="prj_missing")
    assert [project.id for project, _ in ours] == [cast.owner.project_id]
    assert [project.id for project, _ in theirs] == [cast.stranger.project_id]
    assert foreign is None
    assert missing is None


def test_renaming_is_written_down(database: Database, cast: Cast) -> None:
    with database.write() as db:
        actions.rename_project(
            db, actor=Actor(cast.owner.user_id), project_id=cast.project_id, name="New name", now=START
        )
    with database.read() as db:
        entry = db.exec(select(AuditEntry).order_by(col(AuditEntry.id))).one()
    assert (entry.before, entry.after) == ({"name": "Our project"}, {"name": "New name"})


def test_the_sides_are_chosen_apart(database: Database, cast: Cast) -> None:
    with database.write() as db:
        actions.update_side(
            db,
            Scope(cast.project_id, Mode.TEST),
            actor=Actor(cast.owner.user_id),
            success_url="https://app.example.com/thanks",
            cancel_url="",
            redirect_hosts=["app.example.com"],
            now=START,
        )
    with database.read() as db:
        test = queries.mode_settings(db, Scope(cast.project_id, Mode.TEST))
        live = queries.mode_settings(db, Scope(cast.project_id, Mode.LIVE))
    assert (test.success_url, test.cancel_url, test.redirect_hosts) == (
        "https://app.example.com/thanks",
        None,
        ["app.example.com"],
    )
    assert (live.success_url, live.cancel_url, live.redirect_hosts) == (None, None, [])


def test_a_missing_project_is_not_found(database: Database, cast: Cast) -> None:
    with database.write() as db, pytest.raises(NotFound):
        actions.rename_project(db, actor=Actor(), project_id="prj_missing", name="Any", now=START)
