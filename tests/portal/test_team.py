"""The team page and the page of a member, as a browser without scripts uses them."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.kit.ids import new_id
from licenzy.workspace import rules
from licenzy.workspace.models import AuditEntry, Invitation, Membership, Role, User
from licenzy.workspace.sign_in_models import Passkey, TotpFactor
from tests.support.cast import PASSWORD, Cast, make_user
from tests.support.clock import START, StandingClock
from tests.support.visits import csrf_token, forms_of, location, sign_in, submit, visiting

NEWCOMER = "newcomer@example.com"


@pytest.fixture
def team(cast: Cast) -> str:
    return f"/workspaces/{cast.owner.workspace_id}/team"


@pytest.fixture
def owner(app: Flask, cast: Cast) -> FlaskClient:
    return visiting(app, "owner@example.com")


def make_admin(database: Database, cast: Cast) -> str:
    with database.write() as db:
        workspace_id = cast.owner.workspace_id
        return make_user(db, email="admin@example.com", workspace_id=workspace_id, role=Role.ADMIN)


def shown_link(page: Any, part: str) -> str:
    """The path of the link that the page shows."""
    marker = f"/{part}/"
    assert marker in page.text, page.text
    text: str = page.text
    return marker + text.split(marker, 1)[1].split("<")[0]


def press(client: FlaskClient, path: str, ending: str, **values: str) -> Any:
    """Send the form of the page whose address ends so."""
    form = next(form for form in forms_of(client.get(path)) if form.action.endswith(ending))
    return client.post(form.action, data={**form.fields, **values})


def test_everybody_sees_who_is_there_and_who_has_a_second_factor(
    app: Flask, cast: Cast, database: Database, team: str
) -> None:
    with database.write() as db:
        db.add(TotpFactor(user_id=cast.owner.user_id, secret="x", created_at=START))
    viewer = visiting(app, "colleague@example.com")
    page = viewer.get(team)
    assert page.status_code == 200
    assert "owner@example.com" in page.text
    assert "never signed in" in page.text  # The owner; who looks has.
    assert "second factor on" not in page.text  # An app that was never confirmed protects nothing.
    assert "Invite a member" not in page.text
    with database.write() as db:
        db.get_one(TotpFactor, cast.owner.user_id).confirmed_at = START
    assert viewer.get(team).text.count("second factor on") == 1
    with database.write() as db:
        passkey = Passkey(
            id=new_id("pky"),
            user_id=cast.colleague.user_id,
            name="Laptop",
            credential_id="c",
            public_key="k",
            created_at=START,
        )
        db.add(passkey)
    assert viewer.get(team).text.count("second factor on") == 2
    facts = viewer.get(f"{team}/{cast.owner.user_id}")
    assert facts.status_code == 200
    assert "<form" not in facts.text.partition("<main")[2]


def test_inviting_shows_the_link_once_and_a_newcomer_joins_by_it(
    app: Flask, cast: Cast, owner: FlaskClient, team: str
) -> None:
    answer = submit(owner, team, {"email": NEWCOMER}, headers={})
    assert location(answer) == team
    page = owner.get(team)
    link = shown_link(page, "invitations")
    assert page.headers["Cache-Control"] == "no-store"
    assert link not in owner.get(team).text
    newcomer = app.test_client()
    offered = newcomer.get(link)
    assert offered.headers["Referrer-Policy"] == "no-referrer"
    assert "Owner invited" in offered.text
    refused = submit(newcomer, link, {"name": "New Comer", "password": "short"})
    assert (refused.status_code, "Use at least 8 characters" in refused.text) == (422, True)
    assert refused.headers["Referrer-Policy"] == "no-referrer"
    joined = submit(newcomer, link, {"name": "New Comer", "password": PASSWORD})
    assert location(joined) == "/"
    assert "New Comer" in newcomer.get("/account").text
    assert newcomer.get(team).status_code == 200
    used = app.test_client().get(link)
    assert (used.status_code, "This invitation was already used" in used.text) == (410, True)


def test_who_has_an_account_signs_in_and_accepts(
    app: Flask, cast: Cast, owner: FlaskClient, team: str
) -> None:
    submit(owner, team, {"email": cast.stranger.email})
    link = shown_link(owner.get(team), "invitations")
    other = visiting(app, "colleague@example.com")
    told = other.get(link)
    assert "You are signed in as colleague@example.com" in told.text
    assert "Join workspace" not in told.text
    forced = other.post(f"{link}/acceptance", data={"csrf_token": csrf_token(other, "/account")})
    assert (forced.status_code, "another e-mail address" in forced.text) == (422, True)
    client = app.test_client()
    asked = client.get(link)
    assert "This address already has an account" in asked.text
    assert f'href="/sign-in?next={link}"' in asked.text
    assert location(sign_in(client, cast.stranger.email, path=f"/sign-in?next={link}")) == link
    assert location(press(client, link, "/acceptance")) == "/"
    assert client.get(team).status_code == 200


def test_what_became_of_a_link_is_said(
    app: Flask, cast: Cast, owner: FlaskClient, team: str, clock: StandingClock
) -> None:
    submit(owner, team, {"email": NEWCOMER})
    first = shown_link(owner.get(team), "invitations")
    assert location(press(owner, team, "/link")) == team
    second = shown_link(owner.get(team), "invitations")
    gone = app.test_client().get(first)
    assert (gone.status_code, "This link is not an invitation" in gone.text) == (404, True)
    assert gone.headers["Referrer-Policy"] == "no-referrer"
    clock.advance(days=7)
    late = app.test_client().get(second)
    assert (late.status_code, "has expired" in late.text) == (410, True)
    clock.advance(days=-7)
    assert location(press(owner, team, "/revocation")) == team
    revoked = app.test_client().get(second)
    assert (revoked.status_code, "was revoked" in revoked.text) == (410, True)
    forced = submit(owner, team, {"email": NEWCOMER})
    assert forced.status_code == 303


def test_a_refused_invitation_says_why_at_the_field(owner: FlaskClient, cast: Cast, team: str) -> None:
    page = submit(owner, team, {"email": cast.colleague.email})
    assert (page.status_code, "This person is a member already." in page.text) == (422, True)


def test_changing_credentials_asks_for_the_password(
    owner: FlaskClient, cast: Cast, database: Database, team: str, clock: StandingClock
) -> None:
    person = f"{team}/{cast.colleague.user_id}"
    token = csrf_token(owner, "/account")
    clock.now += rules.FRESH_FOR
    for path in (
        f"{team}/invitations",
        f"{person}/role",
        f"{person}/removal",
        f"{person}/disabling",
        f"{person}/enabling",
        f"{person}/password-reset",
        f"{person}/second-factor-reset",
    ):
        answer = owner.post(path, data={"csrf_token": token, "role": "admin", "email": NEWCOMER})
        assert location(answer).startswith("/account/confirm")
    with database.read() as db:
        membership = db.get_one(Membership, (cast.owner.workspace_id, cast.colleague.user_id))
        assert (membership.role, db.exec(select(Invitation)).all()) == (Role.VIEWER, [])
    assert "Confirm that it is you" in owner.get(team).text
    assert "Confirm that it is you" in owner.get(person).text


def test_roles_that_are_too_low_are_refused(app: Flask, cast: Cast, database: Database, team: str) -> None:
    make_admin(database, cast)
    admin, viewer = visiting(app, "admin@example.com"), visiting(app, "colleague@example.com")
    boss = f"{team}/{cast.owner.user_id}"
    for client, path, data in (
        (viewer, f"{team}/invitations", {"email": NEWCOMER, "role": "viewer"}),
        (viewer, f"{team}/{cast.colleague.user_id}/role", {"role": "owner"}),
        (viewer, f"{boss}/removal", {}),
        (admin, f"{team}/invitations", {"email": NEWCOMER, "role": "owner"}),
        (admin, f"{boss}/role", {"role": "viewer"}),
        (admin, f"{team}/{cast.colleague.user_id}/role", {"role": "owner"}),
        (admin, f"{boss}/removal", {}),
        (admin, f"{boss}/password-reset", {}),
        (admin, f"{team}/{cast.colleague.user_id}/second-factor-reset", {}),
        (admin, f"{team}/{cast.colleague.user_id}/disabling", {}),
        (admin, f"{team}/{cast.colleague.user_id}/enabling", {}),
    ):
        answer = client.post(path, data={**data, "csrf_token": csrf_token(client, "/account")})
        assert answer.status_code == 403, path
        assert "your role" in answer.text or "Only an owner" in answer.text
    with database.read() as db:
        made = set(db.exec(select(AuditEntry.action)))
        kept = db.exec(select(Membership.role).order_by(col(Membership.created_at))).all()
    assert made == {"sign_in.succeeded", "role.refused"}
    assert sorted(kept) == ["admin", "owner", "owner", "viewer"]


def test_a_role_is_changed_and_the_last_owner_stays(
    owner: FlaskClient, cast: Cast, database: Database, team: str
) -> None:
    person, me = f"{team}/{cast.colleague.user_id}", f"{team}/{cast.owner.user_id}"
    assert location(press(owner, person, "/role", role="admin")) == person
    assert "Colleague is admin now." in owner.get(person).text
    for nonsense in ({}, {"role": ""}, {"role": "Owner"}):
        sent = {**nonsense, "csrf_token": csrf_token(owner, "/account")}
        assert "Choose a role." in owner.post(f"{person}/role", data=sent).text
    invited = owner.post(f"{team}/invitations", data={**sent, "email": NEWCOMER})
    assert (invited.status_code, "Choose a role." in invited.text) == (422, True)
    assert "Colleague is admin now." not in owner.get(person).text
    with database.read() as db:
        assert db.get_one(Membership, (cast.owner.workspace_id, cast.colleague.user_id)).role is Role.ADMIN
    press(owner, me, "/role", role="viewer")
    sentence = "This person is the only owner of the workspace who can sign in. Make somebody else an owner"
    assert sentence in owner.get(me).text
    press(owner, me, "/leaving")
    assert sentence in owner.get(me).text
    press(owner, person, "/role", role="owner")
    assert location(press(owner, me, "/leaving")) == "/projects"
    assert "You have left the workspace" in owner.get("/projects").text
    assert owner.get(team).status_code == 404


@pytest.mark.parametrize("sent", [{}, {"role": ""}, {"role": "boss"}])
def test_what_is_no_role_lowers_and_invites_nobody(
    owner: FlaskClient, cast: Cast, database: Database, team: str, sent: dict[str, str]
) -> None:
    person = f"{team}/{cast.colleague.user_id}"
    press(owner, person, "/role", role="admin")
    form = {**sent, "csrf_token": csrf_token(owner, "/account")}
    assert "No role was chosen" in _refused(owner, f"{person}/role", form)
    if sent:
        assert "Choose a role." in _refused(owner, f"{team}/invitations", {**form, "email": NEWCOMER})
    with database.read() as db:
        membership = db.get_one(Membership, (cast.owner.workspace_id, cast.colleague.user_id))
        assert membership.role is Role.ADMIN
        assert not db.exec(select(Invitation)).all()


def _refused(client: FlaskClient, path: str, form: dict[str, str]) -> str:
    answer = client.post(path, data=form)
    assert answer.status_code == 422
    return answer.text


def test_who_is_removed_or_disabled_is_out_at_once(
    app: Flask, owner: FlaskClient, cast: Cast, database: Database, team: str
) -> None:
    make_admin(database, cast)
    colleague, admin = visiting(app, "colleague@example.com"), visiting(app, "admin@example.com")
    press(owner, f"{team}/{cast.colleague.user_id}", "/removal")
    assert colleague.get(team).status_code == 404
    assert colleague.get(f"/projects/{cast.project_id}/test").status_code == 404
    with database.read() as db:
        admin_id = db.exec(select(User.id).where(User.email == "admin@example.com")).one()
    press(owner, f"{team}/{admin_id}", "/disabling")
    assert location(admin.get(team)).startswith("/sign-in")
    assert sign_in(app.test_client(), "admin@example.com").status_code == 422
    page = owner.get(team).text
    assert "disabled" in page
    press(owner, f"{team}/{admin_id}", "/enabling")
    assert sign_in(app.test_client(), "admin@example.com").status_code == 303


def test_a_link_for_a_forgotten_password_is_shown_once_and_signs_nobody_in(
    app: Flask, owner: FlaskClient, cast: Cast, team: str, clock: StandingClock
) -> None:
    person = f"{team}/{cast.colleague.user_id}"
    before = visiting(app, "colleague@example.com")
    press(owner, person, "/password-reset")
    link = shown_link(owner.get(person), "password-reset")
    assert link not in owner.get(person).text
    client = app.test_client()
    page = client.get(link)
    assert (page.status_code, page.headers["Referrer-Policy"]) == (200, "no-referrer")
    assert "colleague@example.com" in page.text
    assert submit(client, link, {"password": "short"}).status_code == 422
    assert location(submit(client, link, {"password": "an entirely new one"})) == "/sign-in"
    assert location(client.get("/account")).startswith("/sign-in")
    assert location(before.get("/account")).startswith("/sign-in")
    assert sign_in(client, "colleague@example.com", "an entirely new one").status_code == 303
    over = app.test_client().get(link)
    assert (over.status_code, over.headers["Referrer-Policy"]) == (410, "no-referrer")
    assert "This link no longer works" in over.text
