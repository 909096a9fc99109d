"""What `licenzy doctor` says of the installation as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from licenzy.factory import create_app
from licenzy.settings import Settings
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import StandingClock
from tests.support.visits import forms_of, sign_in

THERE = "https://licenzy.example"
PEOPLE = ("owner@example.com", "colleague@example.com")


@pytest.fixture
def public_app(settings: Settings, clock: StandingClock, cast: Cast) -> Iterator[Flask]:
    """The installation of the cast, at a public address; `trusting` makes it trust a proxy."""
    application = create_app(replace(settings, base_url=THERE), clock=clock)
    yield application
    application.extensions["licenzy"].database.close()


def come_in(
    app: Flask, email: str, password: str = PASSWORD, *, ip: str = "127.0.0.1", header: str | None = None
) -> int:
    """Sign in at the public address, the way a proxy passes it on; gives the status."""
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = ip
    passed_on = {"base_url": THERE, "headers": {header: "203.0.113.9"} if header else {}}
    fields = forms_of(client.get("/sign-in", **passed_on))[0].fields
    return client.post(
        "/sign-in", data={**fields, "email": email, "password": password}, **passed_on
    ).status_code


def installation(app: Flask) -> list[dict[str, Any]]:
    run = app.test_cli_runner().invoke(args=["doctor", "--json"])
    found = json.loads(run.stdout)["findings"]
    assert run.exit_code == (1 if found else 0)
    return [each for each in found if each["mode"] is None]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_it_says_that_a_proxy_stands_in_front_and_is_not_trusted(
    public_app: Flask, clock: StandingClock, header: str
) -> None:
    assert installation(public_app) == []
    assert come_in(public_app, "owner@example.com", ip="10.0.0.2", header=header) == 303
    assert come_in(public_app, "colleague@example.com", ip="10.0.0.2", header=header) == 303
    (found,) = installation(public_app)
    assert found == {
        "code": "proxy_not_trusted",
        "severity": "warns",
        "mode": None,
        "about": [],
        "evidence": {
            "seen": f"2 people signed in from 10.0.0.2, with an {header} header.",
            "at": "2026-11-23T09:30:00Z",
        },
        "cause": found["cause"],
        "fix": found["fix"],
        "page": f"{THERE}/docs/operations#behind-a-reverse-proxy",
    }
    assert "LICENZY_TRUSTED_PROXIES is 0" in found["cause"]
    plain = public_app.test_cli_runner().invoke(args=["doctor"])
    assert plain.exit_code == 1
    assert " warns  proxy_not_trusted\n" in plain.stdout
    assert found["fix"] in plain.stdout
    clock.advance(days=8)
    assert installation(public_app) == []


def test_people_who_share_the_address_of_this_machine_come_through_a_proxy(public_app: Flask) -> None:
    assert come_in(public_app, "owner@example.com") == 303
    assert installation(public_app) == []
    assert come_in(public_app, "colleague@example.com") == 303
    (found,) = installation(public_app)
    assert found["evidence"]["seen"] == "2 people signed in from 127.0.0.1."


def test_people_on_this_machine_and_in_one_office_are_nothing_to_tell(app: Flask, public_app: Flask) -> None:
    for email in PEOPLE:
        assert sign_in(app.test_client(), email).status_code == 303
        assert come_in(public_app, email, ip="203.0.113.7") == 303
    assert installation(app) == []


def test_strangers_cannot_set_it_off(public_app: Flask) -> None:
    assert come_in(public_app, "owner@example.com", "wrong password", header="X-Forwarded-For") == 422
    assert installation(public_app) == []


def test_once_the_proxy_is_trusted_there_is_nothing_to_tell(
    settings: Settings, clock: StandingClock, public_app: Flask
) -> None:
    assert come_in(public_app, "owner@example.com", header="X-Forwarded-For") == 303
    trusting = create_app(replace(settings, base_url=THERE, trusted_proxies=1), clock=clock)
    assert come_in(trusting, "colleague@example.com", header="X-Forwarded-For") == 303
    assert installation(trusting) == []
    trusting.extensions["licenzy"].database.close()


def test_who_asks_about_one_project_is_told_of_it_alone(public_app: Flask, cast: Cast) -> None:
    assert come_in(public_app, "owner@example.com", header="X-Forwarded-For") == 303
    run = public_app.test_cli_runner().invoke(args=["doctor", "--json", "--project", cast.project_id])
    assert {each["mode"] for each in json.loads(run.stdout)["findings"]} == {"test"}
