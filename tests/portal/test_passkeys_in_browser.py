"""Passkeys in a real Chromium, whose virtual authenticator keeps them: created, used in each way, removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from licenzy.db.unit_of_work import Database
from licenzy.settings import Settings
from licenzy.workspace import rules
from licenzy.workspace.models import Workspace
from tests.conftest import make_settings
from tests.portal.test_accessibility import complaints, complaints_here
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START, StandingClock
from tests.support.servers import served
from tests.support.visits import csrf_token, location, visiting

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

EMAIL = "owner@example.com"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """An installation with a host name: browsers take no passkeys at an IP address."""
    made = make_settings(tmp_path, database_url)
    return replace(made, base_url=f"http://localhost:{made.port}")


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port):
        yield settings.base_url


@pytest.fixture
def page(browser: Any) -> Any:
    """A page whose browser has a device that keeps passkeys and recognizes its person."""
    devices = browser.context.new_cdp_session(browser)
    devices.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    added = devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    browser.devices, browser.device_id = devices, added["authenticatorId"]
    return browser


def give_password(page: Any, address: str) -> None:
    page.goto(f"{address}/sign-in?next=/account")
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def create_passkey(page: Any, address: str) -> None:
    give_password(page, address)
    page.get_by_role("link", name="Create passkey").click()
    page.get_by_label("Name").fill("Work laptop")
    page.get_by_role("button", name="Create passkey").click()
    page.get_by_role("heading", name="Save them now").wait_for()
    page.get_by_role("link", name="I saved the codes").click()
    page.get_by_text("Work laptop").first.wait_for()


def sign_out(page: Any) -> None:
    page.locator("details.menu summary").last.click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")


def test_a_passkey_signs_in_alone_and_as_second_step(page: Any, address: str, cast: Cast) -> None:
    create_passkey(page, address)
    sign_out(page)

    page.goto(f"{address}/sign-in?next=/account")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"{address}/account")
    assert "with a passkey" in page.inner_text("#main")
    assert "last used just now" in page.inner_text("#main")
    sign_out(page)

    give_password(page, address)
    page.get_by_role("heading", name="Second factor").wait_for()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{address}/account")
    assert "with a password and a second factor" in page.inner_text("#main")


def test_confirming_and_removing(page: Any, address: str, cast: Cast, clock: StandingClock) -> None:
    create_passkey(page, address)
    clock.now += rules.FRESH_FOR
    page.reload()
    page.get_by_text("Remove…", exact=True).click()
    page.get_by_role("button", name="Remove passkey").click()
    page.get_by_role("heading", name="Confirm that it is you").wait_for()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{address}/account")
    page.get_by_text("Remove…", exact=True).click()
    page.get_by_role("button", name="Remove passkey").click()
    page.get_by_text("Passkey removed.").wait_for()
    assert "Work laptop" not in page.inner_text("#main")
    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_text("This passkey could not be verified. Try again.").wait_for()


def test_a_workspace_that_requires_it_is_opened_by_a_passkey(
    page: Any, address: str, cast: Cast, database: Database
) -> None:
    with database.write() as db:
        db.get_one(Workspace, cast.owner.workspace_id).second_factor_required_at = START
    give_password(page, address)
    page.goto(f"{address}/projects/{cast.project_id}/test/products")
    page.get_by_role("heading", name="Second factor required").wait_for()
    page.get_by_role("link", name="Create passkey").click()
    page.get_by_label("Name").fill("Work laptop")
    page.get_by_role("button", name="Create passkey").click()
    page.get_by_role("link", name="I saved the codes").click()
    page.wait_for_url(f"{address}/projects/{cast.project_id}/test/products")


def test_the_pages_under_axe(page: Any, address: str, cast: Cast) -> None:
    create_passkey(page, address)
    found = complaints(page, address, ["/account", "/account/passkeys/new", "/account/second-factor"])
    page.goto(f"{address}/account")
    sign_out(page)
    found += complaints_here(page, "/sign-in")
    give_password(page, address)
    page.get_by_role("heading", name="Second factor").wait_for()
    found += complaints_here(page, "/sign-in/second-factor")
    assert found == []


def test_a_device_that_does_not_recognize_its_person_is_explained(
    page: Any, address: str, cast: Cast
) -> None:
    create_passkey(page, address)
    sign_out(page)
    refusing = {"authenticatorId": page.device_id, "isUserVerified": False}
    page.devices.send("WebAuthn.setUserVerified", refusing)
    page.goto(f"{address}/sign-in")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_text("No passkey was given. Try again, or use another way.").wait_for(timeout=30_000)
    assert page.url.endswith("/sign-in")


def test_without_scripts_the_page_offers_the_code(page: Any, address: str, cast: Cast, chromium: Any) -> None:
    create_passkey(page, address)
    plain = chromium.new_context(java_script_enabled=False).new_page()
    give_password(plain, address)
    plain.get_by_role("heading", name="Second factor").wait_for()
    assert plain.get_by_text("Your passkeys need JavaScript").is_visible()
    assert plain.get_by_label("Code").is_visible()
    assert not plain.get_by_role("button", name="Use a passkey").is_visible()
    plain.context.close()


def test_an_address_without_a_host_name_has_no_passkeys(app: Flask, cast: Cast, settings: Settings) -> None:
    client = visiting(app, EMAIL)
    assert client.get("/account/passkeys/new").status_code == 200
    app.extensions["licenzy"] = replace(
        app.extensions["licenzy"], settings=replace(settings, base_url=f"http://127.0.0.1:{settings.port}")
    )
    client = visiting(app, EMAIL)
    assert "Passkeys need an https address with a host name" in client.get("/account").text
    assert (
        "passkey" not in client.get("/sign-in", follow_redirects=True).text.lower().split("passkeys need")[0]
    )
    assert client.get("/account/passkeys/new").status_code == 404
    token = csrf_token(client, "/account")
    for path in (
        "/sign-in/passkey",
        "/sign-in/passkey/options",
        "/account/passkeys",
        "/account/confirm/options",
    ):
        assert client.post(path, data={"csrf_token": token}).status_code == 404, path


def test_creating_one_needs_a_fresh_session(app: Flask, cast: Cast, clock: StandingClock) -> None:
    client = visiting(app, EMAIL)
    token = csrf_token(client, "/account")
    clock.now += rules.FRESH_FOR
    assert location(client.get("/account/passkeys/new")).startswith("/account/confirm")
    for path in ("/account/passkeys", "/account/passkeys/options"):
        answer = client.post(path, data={"csrf_token": token})
        assert location(answer).startswith("/account/confirm"), path
