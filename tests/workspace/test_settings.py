"""Workspaces themselves: made, renamed, how their pages write times, what sign-ins need, deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session, col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.projects.actions import create_project
from licenzy.projects.models import Project
from licenzy.projects.workspaces import WorkspaceInUse, delete_workspace
from licenzy.runtime import Runtime
from licenzy.workspace.alerts import choose_alerts
from licenzy.workspace.audit import Actor
from licenzy.workspace.invitations import accept_invitation, invite
from licenzy.workspace.links import links_for
from licenzy.workspace.models import AuditEntry, DateFormat, Invitation, Membership, Role, Workspace
from licenzy.workspace.settings import (
    OwnSecondFactorMissing,
    choose_time_display,
    create_workspace,
    rename_workspace,
    require_second_factor,
)
from licenzy.workspace.sign_in_models import Passkey, TotpFactor
from tests.support.cast import Cast, Person
from tests.support.clock import START
from tests.support.threads import run_in_overlapping_transactions


def entries(database: Database, prefix: str = "workspace.") -> list[AuditEntry]:
    with database.read() as db:
        return list(
            db.exec(
                select(AuditEntry)
                .where(col(AuditEntry.action).startswith(prefix))
                .order_by(col(AuditEntry.id))
            )
        )


def workspace_of(database: Database, person: Person) -> Workspace:
    with database.read() as db:
        return db.get_one(Workspace, person.workspace_id)


def test_a_new_workspace_belongs_to_who_made_it(database: Database, cast: Cast) -> None:
    actor = Actor(cast.owner.user_id, "192.0.2.1")
    with database.write() as db:
        made = create_workspace(db, actor=actor, name="  Side   business ", now=START)
    with database.read() as db:
        members = db.exec(select(Membership).where(Membership.workspace_id == made.id)).all()
    assert made.name == "Side business"
    assert [(each.user_id, each.role) for each in members] == [(cast.owner.user_id, Role.OWNER)]
    [row] = entries(database)
    assert (row.action, row.workspace_id, row.after) == (
        "workspace.created",
        made.id,
        {"name": "Side business"},
    )
    assert (row.actor_user_id, row.ip) == (cast.owner.user_id, "192.0.2.1")


def test_renaming_records_before_and_after_once(database: Database, cast: Cast) -> None:
    for _ in range(2):
        with database.write() as db:
            rename_workspace(
                db,
                actor=Actor(cast.owner.user_id),
                workspace_id=cast.owner.workspace_id,
                name="Ours",
                now=START,
            )
    [row] = entries(database)
    assert (row.action, row.before, row.after) == (
        "workspace.renamed",
        {"name": "Our workspace"},
        {"name": "Ours"},
    )
    assert workspace_of(database, cast.owner).name == "Ours"
    assert workspace_of(database, cast.stranger).name == "Elsewhere"


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\u202eb"])
def test_names_that_are_refused(database: Database, cast: Cast, name: str) -> None:
    with pytest.raises(InvalidRequest) as refused, database.write() as db:
        rename_workspace(db, actor=Actor(), workspace_id=cast.owner.workspace_id, name=name, now=START)
    assert set(refused.value.fields) == {"name"}
    assert entries(database) == []


def test_times_are_written_as_chosen(database: Database, cast: Cast) -> None:
    with database.write() as db:
        choose_time_display(
            db,
            actor=Actor(cast.owner.user_id),
            workspace_id=cast.owner.workspace_id,
            time_zone="Europe/Berlin",
            date_format=DateFormat.ISO,
            now=START,
        )
    here = workspace_of(database, cast.owner)
    assert (here.time_zone, here.date_format) == ("Europe/Berlin", "iso")
    [row] = entries(database)
    assert row.action == "workspace.settings_changed"
    assert row.before == {"time_zone": "UTC", "date_format": "day_first"}
    assert row.after == {"time_zone": "Europe/Berlin", "date_format": "iso"}


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "europe/berlin", "Etc/GMT+3"])
def test_zones_that_are_refused(database: Database, cast: Cast, name: str) -> None:
    with pytest.raises(InvalidRequest) as refused, database.write() as db:
        choose_time_display(
            db,
            actor=Actor(),
            workspace_id=cast.owner.workspace_id,
            time_zone=name,
            date_format=DateFormat.ISO,
            now=START,
        )
    assert set(refused.value.fields) == {"time_zone"}


def require(database: Database, person: Person, *, required: bool = True) -> None:
    with database.write() as db:
        require_second_factor(
            db,
            actor=Actor(person.user_id),
            workspace_id=person.workspace_id,
            required=required,
            now=START,
        )


def app_factor(db: Session, person: Person, *, confirmed: bool) -> None:
    db.add(
        TotpFactor(
            user_id=person.user_id,
            secret="sealed",
            created_at=START,
            confirmed_at=START if confirmed else None,
        )
    )


def test_who_has_no_second_factor_cannot_require_one(database: Database, cast: Cast) -> None:
    with database.write() as db:
        app_factor(db, cast.owner, confirmed=False)
        app_factor(db, cast.colleague, confirmed=True)
    with pytest.raises(OwnSecondFactorMissing) as refused:
        require(database, cast.owner)
    assert "lock you out" in refused.value.message
    assert "account page" in (refused.value.hint or "")
    assert workspace_of(database, cast.owner).second_factor_required_at is None


@pytest.mark.parametrize("kind", ["app", "passkey"])
def test_a_second_factor_is_required_and_no_more(database: Database, cast: Cast, kind: str) -> None:
    with database.write() as db:
        if kind == "app":
            app_factor(db, cast.owner, confirmed=True)
        else:
            key: dict[str, Any] = {
                "name": "Laptop",
                "credential_id": "abc",
                "public_key": "def",
                "created_at": START,
            }
            db.add(Passkey(id="pky_1", user_id=cast.owner.user_id, **key))
    require(database, cast.owner)
    require(database, cast.owner)
    assert workspace_of(database, cast.owner).second_factor_required_at == START
    require(database, cast.owner, required=False)
    assert workspace_of(database, cast.owner).second_factor_required_at is None
    assert [each.after for each in entries(database)] == [
        {"second_factor_required": True},
        {"second_factor_required": False},
    ]


def test_a_workspace_goes_with_its_memberships_and_invitations(database: Database, cast: Cast) -> None:
    actor = Actor(cast.owner.user_id)
    with database.write() as db:
        made = create_workspace(db, actor=actor, name="Short", now=START)
        invitation: dict[str, Any] = {
            "email": "a@example.com",
            "role": Role.VIEWER,
            "token_hash": "x",
            "created_at": START,
        }
        db.add(Invitation(id="inv_1", workspace_id=made.id, expires_at=START, **invitation))
    with database.write() as db:
        delete_workspace(db, actor=actor, workspace_id=made.id, now=START)
    with database.read() as db:
        assert db.get(Workspace, made.id) is None
        assert db.exec(select(Membership).where(Membership.workspace_id == made.id)).all() == []
        assert db.exec(select(Invitation)).all() == []
        assert len(db.exec(select(Membership)).all()) == 3
    assert [each.action for each in entries(database)] == ["workspace.created", "workspace.deleted"]
    assert entries(database)[1].before == {"name": "Short"}


@pytest.mark.parametrize("late", ["accepts", "invites", "makes a project", "wants mail"])
def test_who_comes_while_a_workspace_is_deleted_does_not_find_it(
    database: Database, cast: Cast, runtime: Runtime, late: str
) -> None:
    owner, links = Actor(cast.owner.user_id), links_for(runtime.settings, runtime.secret_box)
    with database.write() as db:
        made = create_workspace(db, actor=owner, name="Short", now=START).id
        link = invite(
            db,
            links,
            workspace_id=made,
            email="stranger@example.com",
            role=Role.VIEWER,
            actor=owner,
            now=START,
        )
    token, guest = link.url.rpartition("/")[2], Actor(cast.stranger.user_id)
    verbs: dict[str, Callable[[Session], object]] = {
        "accepts": lambda db: accept_invitation(db, token=token, actor=guest, now=START),
        "invites": lambda db: invite(
            db, links, workspace_id=made, email="b@example.com", role=Role.VIEWER, actor=owner, now=START
        ),
        "makes a project": lambda db: create_project(
            db, actor=owner, workspace_id=made, name="Late", now=START
        ),
        "wants mail": lambda db: choose_alerts(db, actor=owner, workspace_id=made, wanted=True, now=START),
    }
    refusals: list[LicenzyError] = []

    def come_late(db: Session) -> None:
        try:
            verbs[late](db)
        except LicenzyError as refusal:
            refusals.append(refusal)

    run_in_overlapping_transactions(
        database, lambda db: delete_workspace(db, actor=owner, workspace_id=made, now=START), come_late
    )
    assert [refusal.status for refusal in refusals] == [
        400 if late == "accepts" and database.is_sqlite else 404
    ]


def test_a_workspace_with_projects_and_the_first_one_stay(database: Database, cast: Cast) -> None:
    with pytest.raises(WorkspaceInUse, match="still has projects"), database.write() as db:
        delete_workspace(db, actor=Actor(), workspace_id=cast.stranger.workspace_id, now=START)
    with database.write() as db:
        db.get_one(Project, cast.stranger.project_id).deleted_at = START
    with pytest.raises(WorkspaceInUse, match="still being removed"), database.write() as db:
        delete_workspace(db, actor=Actor(), workspace_id=cast.stranger.workspace_id, now=START)
    with database.write() as db:
        db.get_one(Project, cast.project_id).workspace_id = cast.stranger.workspace_id
    with pytest.raises(WorkspaceInUse, match="first workspace"), database.write() as db:
        delete_workspace(db, actor=Actor(), workspace_id=cast.owner.workspace_id, now=START)
    assert entries(database) == []
