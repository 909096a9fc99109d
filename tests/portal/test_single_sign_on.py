"""Signing in through an OpenID provider: who gets in, as what, and every lie that is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import col, select
from werkzeug.test import TestResponse

from licenzy.db.unit_of_work import Database
from licenzy.factory import create_app
from licenzy.kit import deadline
from licenzy.kit.openid_settings import OpenIdSettings
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.workspace.actions import Device, locked_installation
from licenzy.workspace.audit import Actor
from licenzy.workspace.invitations import invite
from licenzy.workspace.links import links_for
from licenzy.workspace.models import AuditEntry, Membership, Role, User
from licenzy.workspace.openid_provider import Identity, OpenIdProvider, ProviderRefused, Secrets
from licenzy.workspace.queries import find_user
from licenzy.workspace.second_factor import begin_app
from licenzy.workspace.sign_in_models import TotpFactor
from licenzy.workspace.single_sign_on import sign_in_by_provider, unlink_provider
from licenzy.workspace.team import waiting_invitations
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import StandingClock
from tests.support.openid_issuer import CLIENT_ID, CLIENT_SECRET, Issuer, query_of, running_issuer, sent_back
from tests.support.ports import wait_until
from tests.support.threads import join, number_waiting
from tests.support.visits import csrf_token, location, sign_in

NEW = {"email": "new@example.com", "email_verified": True, "name": "Newcomer", "groups": ["staff"]}


@pytest.fixture
def issuer(clock: StandingClock) -> Iterator[Issuer]:
    with running_issuer(clock) as running:
        yield running


@pytest.fixture
def settings(settings: Settings, issuer: Issuer) -> Settings:
    openid = OpenIdSettings(
        issuer=issuer.address,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        name="Our company",
        role_claim="groups",
        roles={"staff": "viewer", "billing": "support", "licenzy-admins": "admin"},
    )
    return replace(settings, openid=openid)


@pytest.fixture
def visitor(app: Flask, cast: Cast) -> FlaskClient:
    return app.test_client()


def through_provider(
    client: FlaskClient, issuer: Issuer, *, start: str = "/sign-in/provider"
) -> TestResponse:
    leaves = client.get(start)
    assert leaves.status_code == 303, leaves.text
    return client.get(sent_back(issuer, leaves.headers["Location"]))


def people(database: Database) -> dict[str, Role]:
    with database.read() as db:
        found = db.exec(select(User.email, Membership.role).join(Membership))
        return {email: Role(role) for email, role in found}


def actions(database: Database) -> list[str]:
    with database.read() as db:
        return list(db.exec(select(AuditEntry.action).order_by(col(AuditEntry.id))))


def test_a_newcomer_joins_with_the_role_of_the_claim(
    visitor: FlaskClient, issuer: Issuer, database: Database
) -> None:
    issuer.claims = NEW
    assert "Sign in with Our company" in visitor.get("/sign-in").text
    answer = through_provider(visitor, issuer, start="/sign-in/provider?next=/account")
    assert (answer.status_code, location(answer)) == (303, "/account")
    assert "Newcomer" in visitor.get("/account").text
    assert people(database)["new@example.com"] is Role.VIEWER
    assert actions(database) == ["member.added", "provider_identity.linked", "sign_in.succeeded"]


def test_the_role_follows_the_claim_and_the_person_their_id(
    app: Flask, visitor: FlaskClient, issuer: Issuer, database: Database
) -> None:
    issuer.claims = NEW
    through_provider(visitor, issuer)
    issuer.claims = {**NEW, "email": "renamed@example.com", "groups": ["licenzy-admins", "staff"]}
    assert through_provider(app.test_client(), issuer).status_code == 303
    assert people(database)["new@example.com"] is Role.ADMIN
    assert "renamed@example.com" not in people(database)


def test_who_loses_the_role_loses_their_sessions(
    app: Flask, visitor: FlaskClient, issuer: Issuer, database: Database
) -> None:
    issuer.claims = NEW
    through_provider(visitor, issuer)
    issuer.claims = {**NEW, "groups": ["guests"]}
    refused = through_provider(app.test_client(), issuer)
    assert refused.status_code == 403
    assert "Your account at Our company has no access to Licenzy." in refused.text
    assert visitor.get("/account").status_code == 303
    assert "new@example.com" not in people(database)
    assert actions(database)[-2:] == ["member.removed", "sign_in.failed"]


def test_links_that_a_person_made_end_with_the_role_that_made_them(
    visitor: FlaskClient, issuer: Issuer, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    for groups in (["billing"], ["guests"]):
        issuer.claims = {**NEW, "groups": ["licenzy-admins"]}
        through_provider(visitor, issuer)
        with runtime.database.write() as db:
            made_by = find_user(db, email="new@example.com")
            assert made_by is not None
            invite(
                db,
                links_for(runtime.settings, runtime.secret_box),
                workspace_id=cast.owner.workspace_id,
                email="second-self@example.com",
                role=Role.ADMIN,
                actor=Actor(made_by.id),
                now=clock(),
            )
        issuer.claims = {**NEW, "groups": groups}
        through_provider(visitor, issuer)
        with runtime.database.read() as db:
            assert len(waiting_invitations(db, workspace_id=cast.owner.workspace_id)) == 0, groups


def test_an_address_given_to_somebody_else_does_not_open_the_account(
    app: Flask, visitor: FlaskClient, issuer: Issuer, database: Database, clock: StandingClock
) -> None:
    issuer.claims = {**NEW, "groups": ["licenzy-admins"]}
    through_provider(visitor, issuer)
    issuer.claims = {**NEW, "sub": "person-2"}
    heir = app.test_client()
    refused = through_provider(heir, issuer)
    assert refused.status_code == 403
    assert "belongs to another account at Our company" in refused.text
    assert people(database)["new@example.com"] is Role.ADMIN, "nothing is taken from who has the account"
    with database.write() as db:
        user = find_user(db, email="new@example.com")
        assert user is not None
        assert unlink_provider(db, actor=Actor(), user_id=user.id, now=clock()) == 1
    assert visitor.get("/account").status_code == 303, "the sessions of before have ended"
    assert through_provider(heir, issuer).status_code == 303
    assert people(database)["new@example.com"] is Role.VIEWER


def test_two_first_sign_ins_at_the_same_moment_make_one_person(
    runtime: Runtime, issuer: Issuer, cast: Cast, clock: StandingClock
) -> None:
    assert runtime.settings.openid is not None
    openid, database = runtime.settings.openid, runtime.database
    identity = Identity(issuer.address, "person-1", "new@example.com", "N", ["staff"], False, None)
    opened: list[object] = []

    def come_back() -> None:
        opened.append(sign_in_by_provider(database, openid, identity=identity, device=Device(), now=clock()))

    threads = [threading.Thread(target=come_back) for _ in range(2)]
    with database.write() as db:
        locked_installation(db, now=clock())
        for thread in threads:
            thread.start()
        if not database.is_sqlite:
            wait_until(lambda: number_waiting(database) == 2, seconds=30, what="both wait for their turn")
    join(*threads, seconds=30)
    assert len(opened) == 2
    assert list(people(database)).count("new@example.com") == 1


def test_a_verified_address_is_the_person_who_has_it_here(
    app: Flask, visitor: FlaskClient, issuer: Issuer, database: Database
) -> None:
    """An owner keeps the role, whatever the claim says: they are the way back in."""
    issuer.claims = {"email": "Owner@Example.com", "email_verified": True, "groups": ["staff"]}
    assert through_provider(visitor, issuer).status_code == 303
    assert "owner@example.com" in visitor.get("/account").text
    assert people(database)["owner@example.com"] is Role.OWNER
    issuer.claims = {"email": "owner@example.com", "email_verified": True, "groups": []}
    assert through_provider(app.test_client(), issuer).status_code == 403
    assert people(database)["owner@example.com"] is Role.OWNER
    with_password = app.test_client()
    assert sign_in(with_password, "owner@example.com", PASSWORD).status_code == 303


@pytest.mark.parametrize("verified", [False, None, "true"])
def test_an_address_that_is_not_verified_is_nobodys(
    visitor: FlaskClient, issuer: Issuer, database: Database, verified: Any
) -> None:
    issuer.claims = {**NEW, "email": "owner@example.com", "email_verified": verified}
    before = people(database)
    assert through_provider(visitor, issuer).status_code == 403
    assert people(database) == before


def test_a_person_who_joined_so_has_no_password(app: Flask, visitor: FlaskClient, issuer: Issuer) -> None:
    issuer.claims = NEW
    through_provider(visitor, issuer)
    for password in ("nobody has this password", PASSWORD, " "):
        assert sign_in(app.test_client(), "new@example.com", password).status_code == 422


LIES: dict[str, dict[str, Any]] = {
    "audience": {"claims": {"aud": "another-client"}},
    "audiences without the authorized party": {"claims": {"aud": [CLIENT_ID, "other"]}},
    "authorized party": {"claims": {"azp": "another-client"}},
    "issuer": {"claims": {"iss": "https://accounts.example.com"}},
    "nonce": {"claims": {"nonce": "of-another-sign-in"}},
    "no nonce": {"claims": {"nonce": None}},
    "expired": {"claims": {"exp": 1_700_000_000}},
    "no end": {"claims": {"exp": None}},
    "issued later": {"claims": {"iat": 4_000_000_000}},
    "no subject": {"claims": {"sub": None}},
    "subject that is no text": {"claims": {"sub": 7}},
    "subject that no database holds": {"claims": {"sub": "person\0"}},
    "password given in no year": {"claims": {"auth_time": 1e300}},
    "key": {"signs_with_another_key": True},
    "signed with the secret that both know": {"signs_with_the_secret": True},
    "calls itself otherwise": {"calls_itself": "https://accounts.example.com"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_a_token_that_proves_nothing_signs_nobody_in(
    app: Flask, visitor: FlaskClient, issuer: Issuer, database: Database, lie: dict[str, Any]
) -> None:
    before, honest = people(database), replace(issuer)
    issuer.claims = dict(NEW)
    for name, value in lie.items():
        setattr(issuer, name, {**NEW, **value} if name == "claims" else value)
    leaves = visitor.get("/sign-in/provider")
    answer = leaves
    if leaves.status_code == 303:
        answer = visitor.get(sent_back(issuer, leaves.headers["Location"]))
    assert answer.status_code == 502
    assert "Signing in through the provider did not work." in answer.text
    assert visitor.get("/account").status_code == 303
    assert people(database) == before
    for name in lie:
        setattr(issuer, name, dict(NEW) if name == "claims" else getattr(honest, name))
    assert through_provider(app.test_client(), issuer).status_code == 303, "only the lie was refused"


def test_only_the_browser_that_began_comes_back_and_only_once(
    app: Flask, visitor: FlaskClient, issuer: Issuer, clock: StandingClock
) -> None:
    issuer.claims = NEW
    back = sent_back(issuer, visitor.get("/sign-in/provider").headers["Location"])
    stranger = app.test_client()
    assert stranger.get(back).status_code == 403
    stranger.get("/sign-in/provider")
    assert stranger.get(back).status_code == 403
    assert visitor.get(back).status_code == 303
    assert visitor.get(back).status_code == 403
    late = app.test_client()
    back = sent_back(issuer, late.get("/sign-in/provider").headers["Location"])
    clock.advance(minutes=10)
    assert late.get(back).status_code == 403


def test_a_refusal_and_a_silence_of_the_provider_are_told(visitor: FlaskClient, issuer: Issuer) -> None:
    issuer.refuses = True
    answer = through_provider(visitor, issuer)
    assert (answer.status_code, "Our company refused to sign you in." in answer.text) == (403, True)
    issuer.hangs_seconds = 6.0
    leaves = visitor.get("/sign-in/provider")
    assert leaves.status_code == 303, "its description is known for a while"
    issuer.hangs_seconds = 0.0


def test_strangers_do_not_make_us_ask_the_provider_each_time(app: Flask, cast: Cast, issuer: Issuer) -> None:
    for _ in range(5):
        assert app.test_client().get("/sign-in/provider").status_code == 303
    assert issuer.asked == ["/.well-known/openid-configuration"]


def test_credentials_are_confirmed_there(
    app: Flask, visitor: FlaskClient, issuer: Issuer, cast: Cast, clock: StandingClock
) -> None:
    issuer.claims = {"email": "owner@example.com", "email_verified": True, "groups": ["staff"]}
    through_provider(visitor, issuer)
    page = f"/projects/{cast.project_id}/test/api-keys"
    key = {"name": "backend", "csrf_token": csrf_token(visitor, "/account")}
    clock.advance(minutes=31)
    assert "/account/confirm" in location(visitor.post(page, data=key))
    start = "/account/confirm/provider?next=/account"
    assert query_of(visitor.get(start).headers["Location"])["prompt"] == "login"
    issuer.claims["auth_time"] = int((clock() - timedelta(hours=1)).timestamp())
    assert through_provider(visitor, issuer, start=start).status_code == 403
    issuer.claims |= {"sub": "person-2", "auth_time": int(clock().timestamp())}
    assert through_provider(visitor, issuer, start=start).status_code == 403
    issuer.claims |= {"sub": "person-1"}
    assert location(through_provider(visitor, issuer, start=start)) == "/account"
    assert "Location" not in visitor.post(page, data=key).headers, "its form is looked at"


def test_a_session_is_as_fresh_as_that_at_the_provider(
    visitor: FlaskClient, issuer: Issuer, cast: Cast, clock: StandingClock
) -> None:
    """Who signs out and in again without giving a password anywhere has proved nothing anew."""
    given = {"email": "owner@example.com", "email_verified": True, "groups": ["staff"]}
    issuer.claims = {**given, "auth_time": int((clock() - timedelta(hours=1)).timestamp())}
    through_provider(visitor, issuer)
    key = {"name": "backend", "csrf_token": csrf_token(visitor, "/account")}
    answer = visitor.post(f"/projects/{cast.project_id}/test/api-keys", data=key)
    assert location(answer).startswith("/account/confirm")


def test_a_slow_provider_takes_neither_all_threads_nor_the_database_s_time(
    issuer: Issuer, runtime: Runtime, clock: StandingClock
) -> None:
    assert runtime.settings.openid is not None
    issuer.hangs_seconds = 0.7
    provider = OpenIdProvider(runtime.settings.openid, redirect_uri="http://localhost/")
    outcomes: list[str] = []

    def begin() -> None:
        with deadline.within(0.5):
            try:
                provider.authorization_url(Secrets.fresh(), again=False)
            except ProviderRefused:
                outcomes.append("refused")
            else:
                outcomes.append("in time" if deadline.seconds_left() else "too late")

    threads = [threading.Thread(target=begin) for _ in range(5)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=30)
    assert outcomes == ["refused"] * 2 + ["in time"] * 3


@pytest.mark.parametrize("path", ["/sign-in/provider", "/sign-in/provider/return?code=x&state=y"])
def test_there_is_no_such_page_without_a_provider(
    settings: Settings, clock: StandingClock, path: str
) -> None:
    plain = create_app(replace(settings, openid=None), clock=clock)
    try:
        assert plain.test_client().get(path).status_code == 404
        assert "Sign in with" not in plain.test_client().get("/sign-in").text
    finally:
        plain.extensions["licenzy"].database.close()


@pytest.mark.parametrize("amr", [["pwd"], ["pwd", "otp"]])
def test_a_second_factor_here_is_asked_for_unless_the_provider_had_one(
    visitor: FlaskClient, issuer: Issuer, runtime: Runtime, cast: Cast, clock: StandingClock, amr: list[str]
) -> None:
    actor = Actor(cast.owner.user_id)
    with runtime.database.write() as db:
        begin_app(db, runtime.secret_box, actor=actor, now=clock())
        db.get_one(TotpFactor, cast.owner.user_id).confirmed_at = clock()
    issuer.claims = {"email": "owner@example.com", "email_verified": True, "groups": ["staff"], "amr": amr}
    back = through_provider(visitor, issuer, start="/sign-in/provider?next=/account")
    if "otp" in amr:
        assert location(back) == "/account"
        assert "owner@example.com" in visitor.get("/account").text
    else:
        assert location(back).startswith("/sign-in/second-factor?next=")
        assert visitor.get("/account").status_code == 303
