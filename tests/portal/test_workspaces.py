"""The pages of a workspace's settings, of making one and deleting one."""

from __future__ import annotations

from flask import Flask
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.workspace.models import AuditEntry, Membership, Role, Workspace
from licenzy.workspace.sign_in_models import TotpFactor
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START, StandingClock
from tests.support.visits import csrf_token, location, submit, visiting


def settings_of(cast: Cast) -> str:
    return f"/workspaces/{cast.owner.workspace_id}/settings"


def test_an_admin_changes_name_zone_and_format(app: Flask, cast: Cast, database: Database) -> None:
    with database.write() as db:
        db.get_one(Membership, (cast.owner.workspace_id, cast.colleague.user_id)).role = Role.ADMIN
    client = visiting(app, cast.colleague.email)
    page = settings_of(cast)
    assert location(submit(client, page, {"name": "Ours & co"})) == page
    text = client.get(page).text
    assert "Ours &amp; co" in text
    assert "Only an owner can change this." in text
    assert "Delete workspace" not in text
    data = {"csrf_token": csrf_token(client, page), "time_zone": "Asia/Tokyo", "date_format": "iso"}
    assert client.post(f"{page}/times", data=data).status_code == 303
    assert 'selected value="Asia/Tokyo"' in client.get(page).text
    data["time_zone"] = "Mars/Olympus"
    assert client.post(f"{page}/times", data=data).status_code == 422
    with database.read() as db:
        assert db.get_one(Workspace, cast.owner.workspace_id).time_zone == "Asia/Tokyo"


def test_requiring_a_second_factor(app: Flask, cast: Cast, database: Database, clock: StandingClock) -> None:
    client = visiting(app, cast.owner.email)
    page = settings_of(cast)
    assert "lock yourself out" in client.get(page).text
    refused = submit(client, page, {"required": "yes"})
    assert refused.status_code == 422
    assert "lock you out" in refused.text
    with database.write() as db:
        db.add(TotpFactor(user_id=cast.owner.user_id, secret="sealed", created_at=START, confirmed_at=START))
    clock.advance(hours=2)
    # The sign-in is too old for it: the password is asked for first.
    asked = submit(client, page, {"required": "yes"})
    assert location(asked).startswith("/account/confirm")
    with database.read() as db:
        assert db.get_one(Workspace, cast.owner.workspace_id).second_factor_required_at is None
    assert submit(client, "/account/confirm", {"password": PASSWORD}).status_code == 303
    without = {"csrf_token": csrf_token(client, "/account")}
    refused = client.post(f"{page}/second-factor", data=without)
    assert (refused.status_code, "Nothing was changed." in refused.text) == (422, True)
    assert submit(client, page, {"required": "yes"}).status_code == 303
    with database.read() as db:
        assert db.get_one(Workspace, cast.owner.workspace_id).second_factor_required_at == clock.now


def test_admins_cannot_require_a_second_factor(app: Flask, cast: Cast, database: Database) -> None:
    with database.write() as db:
        db.get_one(Membership, (cast.owner.workspace_id, cast.colleague.user_id)).role = Role.ADMIN
    client = visiting(app, cast.colleague.email)
    data = {"csrf_token": csrf_token(client, "/account"), "required": "yes", "typed": "Our workspace"}
    for action in ("second-factor", "removal"):
        assert client.post(f"{settings_of(cast)}/{action}", data=data).status_code == 403


def test_an_owner_makes_a_workspace_and_deletes_it(app: Flask, cast: Cast, database: Database) -> None:
    client = visiting(app, cast.owner.email)
    page = location(submit(client, "/workspaces/new", {"name": "Side business"}))
    assert page.endswith("/settings")
    assert "Side business" in client.get(page).text
    wrong = submit(client, page, {"typed": "Side"})
    assert wrong.status_code == 422
    assert "That is not the workspace’s name." in wrong.text
    assert location(submit(client, page, {"typed": "Side business"})) == "/projects"
    assert client.get(page).status_code == 404
    with database.read() as db:
        actions = db.exec(
            select(AuditEntry.action)
            .where(col(AuditEntry.action).startswith("workspace."))
            .order_by(col(AuditEntry.id))
        ).all()
    assert actions == ["workspace.created", "workspace.deleted"]


def test_a_workspace_with_projects_offers_no_deletion(app: Flask, cast: Cast) -> None:
    client = visiting(app, cast.owner.email)
    text = client.get(settings_of(cast)).text
    assert "It still has projects." in text
    data = {"csrf_token": csrf_token(client, settings_of(cast)), "typed": "Our workspace"}
    refused = client.post(f"{settings_of(cast)}/removal", data=data)
    assert refused.status_code == 422
    assert "It still has projects." in refused.text


def test_who_owns_no_workspace_makes_none(app: Flask, cast: Cast) -> None:
    client = visiting(app, cast.colleague.email)
    assert client.get("/workspaces/new").status_code == 403
    data = {"csrf_token": csrf_token(client, "/account"), "name": "Mine"}
    assert client.post("/workspaces/new", data=data).status_code == 403
