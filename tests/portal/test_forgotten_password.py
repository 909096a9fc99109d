"""A forgotten password: with a mail server and without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from licenzy.factory import create_app
from licenzy.settings import Settings
from licenzy.worker.loop import run_job
from tests.support.cast import Cast
from tests.support.clock import StandingClock
from tests.support.mail_servers import Mailbox, mail_server
from tests.support.visits import forms_of, location, sign_in, submit


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


@pytest.fixture
def mailing_app(settings: Settings, clock: StandingClock, mailbox: Mailbox, cast: Cast) -> Iterator[Flask]:
    with_mail = replace(settings, smtp=mailbox.server, mail_from="licenzy@example.com")
    application = create_app(with_mail, clock=clock)
    yield application
    application.extensions["licenzy"].database.close()


def test_without_a_mail_server_it_says_who_can_help(client: FlaskClient, cast: Cast) -> None:
    for path in ("/sign-in", "/password-reset"):
        page = client.get(path)
        assert "licenzy users reset-password" in page.text
        assert "An admin or owner of your workspace" in page.text
    assert [form.action for form in forms_of(client.get("/password-reset"))] == []
    unknown = client.get("/password-reset/no-such-token")
    assert (unknown.status_code, "See who can help" in unknown.text) == (410, True)


def test_a_link_comes_by_mail_and_the_answer_tells_nothing(mailing_app: Flask, mailbox: Mailbox) -> None:
    client = mailing_app.test_client()
    assert 'href="/password-reset"' in client.get("/sign-in").text
    answers = [
        submit(client, "/password-reset", {"email": email})
        for email in ("owner@example.com", "nobody@example.com", "no address")
    ]
    # The token of a page says the second at which it was made.
    token = re.compile(r'"X-CSRFToken": "[^"]+"')
    assert len({(answer.status_code, token.sub("", answer.text)) for answer in answers}) == 1
    assert "If this address has an account" in answers[0].text
    assert run_job(mailing_app.extensions["licenzy"], "send mail") == 1
    (message,) = mailbox.taken
    assert message["To"] == "owner@example.com"
    url = next(word for word in message.get_content().split() if "/password-reset/" in word)
    link = url.removeprefix(mailing_app.extensions["licenzy"].settings.base_url)
    assert location(submit(client, link, {"password": "an entirely new one"})) == "/sign-in"
    assert sign_in(client, "owner@example.com", "an entirely new one").status_code == 303


def test_asking_again_and_again_is_refused_with_the_time_to_wait(mailing_app: Flask) -> None:
    client = mailing_app.test_client()
    for _ in range(3):
        assert submit(client, "/password-reset", {"email": "nobody@example.com"}).status_code == 200
    refused = submit(client, "/password-reset", {"email": "nobody@example.com"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "900")
    assert "Too many links to reset the password" in refused.text


def test_an_invitation_is_mailed_too(mailing_app: Flask, mailbox: Mailbox, cast: Cast) -> None:
    client = mailing_app.test_client()
    sign_in(client, "owner@example.com")
    team = f"/workspaces/{cast.owner.workspace_id}/team"
    submit(client, team, {"email": "newcomer@example.com"})
    assert "The invitation is being mailed." in client.get(team).text
    assert run_job(mailing_app.extensions["licenzy"], "send mail") == 1
    (message,) = mailbox.taken
    assert message["Subject"] == "Join “Our workspace” on Licenzy"
    assert "/invitations/" in message.get_content()
