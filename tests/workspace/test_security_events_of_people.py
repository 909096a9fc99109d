"""Security events of people, one after another on one stage: each writes exactly one row, without a secret.

A new event is a row of a sequence. An action of the log that has none, here or in the other table, is named
in `NOT_OF_SECURITY` with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.factory import create_app
from licenzy.kit.openid_settings import OpenIdSettings
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.workspace.audit import Actor
from licenzy.workspace.audit_wording import WORDING
from licenzy.workspace.links import Links
from licenzy.workspace.models import AuditEntry
from licenzy.workspace.password_links import request_reset
from licenzy.workspace.queries import signed_in_by_token
from licenzy.workspace.second_step import give_second_factor
from licenzy.workspace.sessions import Device, open_session
from licenzy.workspace.throttling import TooManyTries
from tests.conftest import make_settings
from tests.portal.test_second_factor import press, secret_on
from tests.portal.test_team import press as press_ending
from tests.portal.test_team import shown_link
from tests.support.authenticator import SecurityKey
from tests.support.cast import PASSWORD, Cast, make_cast
from tests.support.clock import StandingClock
from tests.support.codes import app_of, code_at
from tests.support.openid_issuer import CLIENT_ID, CLIENT_SECRET, Issuer, running_issuer, sent_back
from tests.support.visits import csrf_token, forms_of, location, sign_in, submit, visiting
from tests.workspace import test_security_events
from tests.workspace.security_events import (
    CANARY,
    SecurityEvent,
    Stage,
    happens,
    make_stage,
    of_person,
    of_workspace,
)

OWNER, COLLEAGUE, NEWCOMER = "owner@example.com", "colleague@example.com", "newcomer@example.com"
Do = Callable[[Stage, Any], None]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """An installation with a host name, as passkeys need one."""
    made = make_settings(tmp_path, database_url)
    return replace(made, base_url=f"http://localhost:{made.port}")


@pytest.fixture
def stage(app: Flask, runtime: Runtime, cast: Cast, clock: StandingClock) -> Stage:
    return make_stage(app, runtime, cast, clock)


def owner_of(stage: Stage) -> FlaskClient:
    return stage.pages.client


# --- second factors ----------------------------------------------------------------------------------------


def turn_app_on(stage: Stage, _made: object) -> None:
    client = owner_of(stage)
    press(client, "/account/authenticator")
    secret = secret_on(client.get("/account/authenticator").text)
    stage.secrets.append(secret)
    answer = submit(client, "/account/authenticator", {"code": code_at(secret, stage.clock.now)})
    stage.kept["codes"] = codes_at(client, location(answer))
    stage.secrets += stage.kept["codes"]


def new_codes(stage: Stage, _made: object) -> None:
    client = owner_of(stage)
    stage.kept["codes"] = codes_at(client, press(client, "/account/recovery-codes"))
    stage.secrets += stage.kept["codes"]


def codes_at(client: FlaskClient, path: str) -> list[str]:
    codes = re.findall(r"\b(?:[0-9a-z]{4}-){3}[0-9a-z]{4}\b", client.get(path).text)
    assert len(codes) == 10
    return codes


def give_password(stage: Stage, _made: object) -> None:
    stage.kept["stranger"] = stage.app.test_client()
    stage.kept["step"] = location(sign_in(stage.kept["stranger"], OWNER))


def wrong_code(stage: Stage, _made: object) -> None:
    assert submit(stage.kept["stranger"], stage.kept["step"], {"code": "000000"}).status_code == 422


def wrong_codes(stage: Stage, _made: object) -> None:
    answers = [submit(stage.kept["stranger"], stage.kept["step"], {"code": "000000"}) for _ in range(6)]
    assert [each.status_code for each in answers] == [*[422] * 4, 429, 429]
    stage.clock.advance(minutes=6)


def recovery_code(stage: Stage, _made: object) -> None:
    answer = submit(stage.kept["stranger"], stage.kept["step"], {"code": stage.kept["codes"][0]})
    assert location(answer) == "/"


def create_passkey(stage: Stage, _made: object) -> None:
    client, page = owner_of(stage), "/account/passkeys/new"
    token = {"csrf_token": csrf_token(client, page)}
    options = client.post("/account/passkeys/options", data=token).text
    stage.secrets.append(json.loads(options)["challenge"])
    credential = SecurityKey().creates(options, origin=stage.runtime.settings.base_url)
    values = {"name": "Laptop", "credential": credential}
    assert submit(client, page, values).status_code == 303


def remove_passkey(stage: Stage, _made: object) -> None:
    client = owner_of(stage)
    form = next(each for each in forms_of(client.get("/account")) if "/passkeys/psk_" in each.action)
    assert client.post(form.action, data=form.fields).status_code == 303


def confirm_password(stage: Stage, _made: object) -> None:
    assert submit(owner_of(stage), "/account/confirm", {"password": PASSWORD}).status_code == 303


def wrong_password(stage: Stage, _made: object) -> None:
    assert submit(owner_of(stage), "/account/confirm", {"password": CANARY}).status_code == 422


def wrong_passwords(stage: Stage, _made: object) -> None:
    client = owner_of(stage)
    answers = [submit(client, "/account/confirm", {"password": CANARY}).status_code for _ in range(20)]
    assert (answers[0], answers[-1]) == (422, 429)


def code_in_a_session(stage: Stage, _made: object) -> None:
    """What a session that lacks a factor is given, such as one that a provider opened before."""
    now, user_id = stage.clock.now, stage.cast.owner.user_id
    with stage.database.write() as db:
        opened = open_session(db, user_id=user_id, device=Device(), now=now)
        session = signed_in_by_token(db, token=opened.token, now=now)
    assert session is not None
    give_second_factor(
        stage.database,
        stage.runtime.secret_box,
        actor=Actor(user_id, "127.0.0.1"),
        session_id=session.session_id,
        code=stage.kept["codes"][1],
        device=Device("127.0.0.1"),
        now=now,
    )


def end_others(stage: Stage, _made: object) -> None:
    assert press(owner_of(stage), "/account/sessions/end-others") == "/account"


def remove_app(stage: Stage, _made: object) -> None:
    assert press(owner_of(stage), "/account/authenticator/removal") == "/account"


def app_of_colleague(stage: Stage) -> None:
    secret, codes = app_of(stage.database, stage.runtime.secret_box, stage.cast.colleague.user_id)
    stage.secrets += [secret, *codes]


FACTORS = [
    of_person("second_factor.enabled", turn_app_on),
    of_person("recovery_codes.created", new_codes),
    of_person("sign_in.password_accepted", give_password),
    of_person("second_factor.failed", wrong_code),
    of_person("second_factor.throttled", wrong_codes, besides=frozenset({"second_factor.failed"})),
    of_person("recovery_code.used", recovery_code, besides=frozenset({"sign_in.succeeded"})),
    of_person("second_factor.given", code_in_a_session, besides=frozenset({"recovery_code.used"})),
    of_person("sessions.ended", end_others),
    of_person("passkey.created", create_passkey),
    of_person("passkey.removed", remove_passkey),
    of_person("second_factor.disabled", remove_app),
    of_person("sign_in.confirmed", confirm_password),
    of_person("password.wrong", wrong_password),
    of_person("password.throttled", wrong_passwords, besides=frozenset({"password.wrong"})),
]


# --- a team ------------------------------------------------------------------------------------------------


def team_of(stage: Stage, name: str | None = None) -> str:
    path = f"/workspaces/{stage.cast.owner.workspace_id}/team"
    return f"{path}/{stage.user_id(name)}" if name else path


def invite(stage: Stage, _made: object) -> None:
    owner, team = owner_of(stage), team_of(stage)
    submit(owner, team, {"email": NEWCOMER})
    keep_link(stage, owner, team, "invitations")


def keep_link(stage: Stage, owner: FlaskClient, page: str, part: str) -> None:
    stage.kept["link"] = shown_link(owner.get(page), part)
    stage.secrets.append(stage.kept["link"].rpartition("/")[2])


def on_team(ending: str, name: str | None = None, **values: str) -> Do:
    def do(stage: Stage, _made: object) -> None:
        answer = press_ending(owner_of(stage), team_of(stage, name), ending, **values)
        assert answer.status_code == 303, answer.text

    return do


def join(stage: Stage, _made: object) -> None:
    stage.kept["newcomer"] = stage.app.test_client()
    values = {"name": "New Comer", "password": PASSWORD}
    assert submit(stage.kept["newcomer"], stage.kept["link"], values).status_code == 303


def want_alerts(stage: Stage, _made: object) -> None:
    client = stage.kept["newcomer"]
    press(client, f"/account/notifications/{stage.cast.owner.workspace_id}", "/account/notifications")


def issue_reset(stage: Stage, _made: object) -> None:
    page = team_of(stage, "newcomer")
    press_ending(owner_of(stage), page, "/password-reset")
    keep_link(stage, owner_of(stage), page, "password-reset")


def use_reset(stage: Stage, _made: object) -> None:
    answer = submit(stage.app.test_client(), stage.kept["link"], {"password": CANARY})
    assert answer.status_code == 303


def leave(stage: Stage, _made: object) -> None:
    client = visiting(stage.app, COLLEAGUE)
    assert press_ending(client, team_of(stage, "colleague"), "/leaving").status_code == 303


def add_by_command(stage: Stage, _made: object) -> None:
    arguments = ("--email", "added@example.com", "--role", "viewer", "--password-stdin")
    stage.command("users", "create", *arguments, input=CANARY + "\n")


def in_workspace(ending: str, **values: str) -> Do:
    def do(stage: Stage, _made: object) -> None:
        settings = f"/workspaces/{stage.kept.get('made', stage.cast.owner.workspace_id)}/settings"
        answer = press_ending(owner_of(stage), settings, ending, **values)
        assert answer.status_code == 303, answer.text

    return do


def make_workspace(stage: Stage, _made: object) -> None:
    answer = submit(owner_of(stage), "/workspaces/new", {"name": "Another"})
    stage.kept["made"] = location(answer).split("/")[2]


def guess(stage: Stage, _made: object) -> None:
    client = stage.app.test_client()
    answers = [sign_in(client, "owner@example.com", CANARY).status_code for _ in range(7)]
    assert (answers[0], answers[-1]) == (422, 429)


def ask_for_link(stage: Stage, _made: object) -> None:
    links = Links("http://localhost", stage.runtime.secret_box, mailed=True)
    email, now = "nobody@example.com", stage.clock.now
    request_reset(stage.database, links, email=email, ip="127.0.0.1", now=now)


def ask_for_links(stage: Stage, made: object) -> None:
    ask_for_link(stage, made)
    ask_for_link(stage, made)
    with pytest.raises(TooManyTries):
        ask_for_link(stage, made)


TEAM = [
    of_workspace("member.invited", invite),
    of_workspace("invitation.revoked", on_team("/revocation")),
    of_workspace("invitation.accepted", join, prepare=lambda stage: invite(stage, None), actor="newcomer"),
    of_workspace("member.alerts_changed", want_alerts, actor="newcomer"),
    of_workspace("member.role_changed", on_team("/role", "newcomer", role="admin")),
    of_workspace("password.reset_issued", issue_reset),
    of_person("password.reset", use_reset, actor="newcomer"),
    of_workspace(
        "second_factor.reset", on_team("/second-factor-reset", "colleague"), prepare=app_of_colleague
    ),
    of_workspace("user.disabled", on_team("/disabling", "newcomer")),
    of_workspace("user.enabled", on_team("/enabling", "newcomer")),
    of_workspace("member.removed", on_team("/removal", "newcomer")),
    of_workspace("member.left", leave, actor="colleague", besides=frozenset({"sign_in.succeeded"})),
    of_workspace("member.added", add_by_command, actor=None),
    of_workspace("workspace.renamed", in_workspace("/settings/name", name="New name")),
    of_workspace(
        "workspace.settings_changed",
        in_workspace("/settings/times", time_zone="Europe/Rome", date_format="iso"),
    ),
    of_workspace("workspace.created", make_workspace, workspace=None),
    of_workspace("workspace.deleted", in_workspace("/settings/removal", typed="Another"), workspace=None),
    of_person("sign_in.throttled", guess, besides=frozenset({"sign_in.failed"})),
    of_person("password.reset_refused", ask_for_link, actor=None, stranger=True),
    of_person(
        "password.reset_throttled",
        ask_for_links,
        actor=None,
        stranger=True,
        besides=frozenset({"password.reset_refused"}),
    ),
]


@pytest.mark.parametrize("sequence", [FACTORS, TEAM], ids=["factors", "team"])
def test_each_event_of_a_sequence_is_one_row(stage: Stage, sequence: list[SecurityEvent]) -> None:
    for wanted in sequence:
        happens(stage, wanted)


# --- a provider, and claiming ------------------------------------------------------------------------------


@pytest.fixture
def issuer(clock: StandingClock) -> Iterator[Issuer]:
    claims = {"email": NEWCOMER, "email_verified": True, "groups": ["staff"]}
    with running_issuer(clock, claims=claims) as running:
        yield running


def through_provider(stage: Stage, _made: object) -> None:
    client, issuer = stage.app.test_client(), stage.kept["issuer"]
    back = sent_back(issuer, client.get("/sign-in/provider").headers["Location"])
    stage.secrets += [value for _name, value in parse_qsl(urlsplit(back).query)]
    assert client.get(back).status_code == 303


def app_of_newcomer(stage: Stage) -> None:
    secret, codes = app_of(stage.database, stage.runtime.secret_box, stage.user_id("newcomer"))
    stage.secrets += [secret, *codes]


def unlink_newcomer(stage: Stage, _made: object) -> None:
    stage.command("users", "unlink-provider", "--email", "newcomer@example.com")


SIGNED_IN = frozenset({"sign_in.succeeded"})
PROVIDER = [
    of_person(
        "provider_identity.linked",
        through_provider,
        actor="newcomer",
        besides=SIGNED_IN | {"member.added"},
    ),
    of_person("sign_in.identity_accepted", through_provider, prepare=app_of_newcomer, actor="newcomer"),
    of_person("provider_identity.unlinked", unlink_newcomer, actor=None),
]


def test_a_provider(settings: Settings, issuer: Issuer, clock: StandingClock, database_url: str) -> None:
    openid = OpenIdSettings(
        issuer=issuer.address,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        name="Our company",
        role_claim="groups",
        roles={"staff": "viewer"},
    )
    app = create_app(replace(settings, openid=openid), clock=clock)
    runtime: Runtime = app.extensions["licenzy"]
    with runtime.database.write() as db:
        cast = make_cast(db)
    stage = make_stage(app, runtime, cast, clock)
    stage.kept["issuer"] = issuer
    stage.secrets.append(CLIENT_SECRET)
    for wanted in PROVIDER:
        happens(stage, wanted)
    runtime.database.close()


def test_claiming_is_one_row_without_the_token(client: FlaskClient, runtime: Runtime) -> None:
    token = runtime.settings.derived_secret("claim")
    values = {"name": "First", "email": OWNER, "password": CANARY}
    assert submit(client, f"/claim/{token}", values).status_code == 303
    with runtime.database.read() as db:
        (row,) = db.exec(select(AuditEntry).where(AuditEntry.action != "sign_in.succeeded")).all()
    assert (row.action, row.ip) == ("installation.claimed", "127.0.0.1")
    assert not any(secret in repr(row.model_dump()) for secret in (token, CANARY))


NOT_OF_SECURITY = {
    "checkout.adopt": "takes over what Stripe says was bought",
    "subscription.adopt": "takes over what Stripe says was bought",
    "delivery.requeued": "sends once more what was sent before",
    "entitlement.adjust_window": "is written as entitlement.adjust is",
    "entitlement.lift": "is written as entitlement.revoke is",
    "event.replay_parked": "is written as event.replay is",
    "finding.marked_mended": "hides a notice, and changes nothing that anybody may do",
    "import.start": "reads what Stripe has",
    "import.run": "takes over what Stripe says was bought",
    "import.stop": "takes over no more of it",
    "price.created": "is made in the sandbox only",
    "product.price_labelled": "names a price",
    "product.terms_for_holders": "gives customers what new customers get",
    "product.terms_for_holders_stopped": "gives no more of them that",
    "reconciliation.ask": "reads what Stripe has",
    "subject.resync": "reads what Stripe has",
    "trial.allowed": "lets a customer ask for a trial again, and grants none",
    "webhook_endpoint.repaired": "sets up again what was changed at Stripe, with the secret as it is",
    "webhook_endpoint.tested": "sends a test without data of customers",
}


def test_every_action_is_an_event_of_a_table_or_none_of_security() -> None:
    tables = (FACTORS, TEAM, PROVIDER, test_security_events.EVENTS, *test_security_events.SEQUENCES.values())
    proven = {each.action for table in tables for each in table} | {"installation.claimed"}
    assert proven & set(NOT_OF_SECURITY) == set()
    assert set(WORDING) - proven - set(NOT_OF_SECURITY) == set()
    assert set(NOT_OF_SECURITY) <= set(WORDING)
