"""A team's year in a day, in real browsers: invited, with a second factor, lost and reset, left and removed.

Everybody has a browser of their own and uses what the pages show. The clock moves only for new codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from licenzy.catalog.models import Kind
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.support.browsers import fresh_page
from tests.support.cast import PASSWORD, Cast, make_product
from tests.support.clock import StandingClock
from tests.support.codes import code_at
from tests.support.servers import served

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

NEWCOMER, NEWCOMERS_PASSWORD = "newcomer@example.com", "seven geese over the harbour"


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


class Visitor:
    """Somebody with a browser and an authenticator app, who uses what stands on the pages."""

    def __init__(self, page: Any, clock: StandingClock) -> None:
        self.page, self._clock = page, clock
        self._secret = ""
        self.recovery_codes: list[str] = []

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def fill(self, label: str, value: str) -> None:
        self.page.get_by_label(label, exact=True).fill(value)

    def sees(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def heads(self, title: str) -> None:
        self.page.get_by_role("heading", name=title, exact=True).first.wait_for()

    def give_password(self, email: str, password: str) -> None:
        self.fill("E-mail address", email)
        self.fill("Password", password)
        self.press("Sign in")

    def sign_out(self) -> None:
        self.page.get_by_label(re.compile("my account$")).click()
        self.press("Sign out")
        self.heads("Sign in")

    def confirm_by(self, first: str, then: str) -> None:
        self.page.get_by_text(first, exact=True).click()
        self.press(then)

    def set_up_app(self) -> None:
        """From the button on, until the codes are saved and the page goes on."""
        self.press("Set up authenticator app")
        secret = self.page.get_by_text(re.compile(r"^(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}$"))
        self._secret = secret.inner_text().replace(" ", "")
        self.fill("Code", self.code())
        self.press("Turn on authenticator app")
        self.heads("Save them now: they are shown only once")
        shown = self.page.get_by_role("main").inner_text()
        self.recovery_codes = re.findall(r"\b(?:[0-9a-z]{4}-){3}[0-9a-z]{4}\b", shown)
        assert len(self.recovery_codes) == 10
        self.follow("I saved the codes")

    def code(self) -> str:
        """One that was not shown before."""
        self._clock.advance(seconds=30)
        return code_at(self._secret, self._clock.now)

    def second_step(self, code: str) -> None:
        self.heads("Second factor")
        self.fill("Code", code)
        self.press("Sign in")


def log_of(owner: Visitor, address: str) -> list[tuple[str, str]]:
    """Who did what, as the page of the audit log shows it."""
    owner.page.goto(f"{address}/projects")
    owner.follow("Audit log")
    owner.heads("Audit log")
    rows = [
        row.split("\t") for row in owner.page.get_by_role("row").all_inner_texts() if row.count("\t") >= 3
    ]
    return [(who.strip().splitlines()[0], what.strip().splitlines()[0]) for who, what, *_more in rows]


def test_a_team_from_the_invitation_to_the_audit_log(
    browser: Any, chromium: Any, address: str, cast: Cast, runtime: Runtime, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id, product_code="DAY_PASS", kind=Kind.TIME_PASS)
    own_browser = contextmanager(fresh_page)
    project = f"{address}/projects/{cast.project_id}/test"
    team = f"{address}/workspaces/{cast.owner.workspace_id}/team"
    with own_browser(chromium) as first, own_browser(chromium) as second:
        owner, colleague, newcomer = (Visitor(page, clock) for page in (browser, first, second))

        # Whoever is removed is out at once.
        owner.page.goto(f"{address}/sign-in")
        owner.give_password(cast.owner.email, PASSWORD)
        colleague.page.goto(f"{project}/products")
        colleague.give_password(cast.colleague.email, PASSWORD)
        colleague.heads("Products")
        owner.page.goto(team)
        owner.follow("Colleague")
        owner.confirm_by("Remove member…", "Remove member")
        owner.sees("Colleague is removed.")
        colleague.page.reload()
        colleague.heads("Page not found")

        # The owner protects the workspace, and invites somebody.
        owner.page.goto(f"{address}/account")
        owner.set_up_app()
        owner.heads("My account")
        owner.page.goto(f"{address}/workspaces/{cast.owner.workspace_id}/settings")
        owner.press("Require a second factor")
        owner.sees("Everybody in this workspace needs a second factor from now on.")
        owner.page.goto(team)
        owner.fill("E-mail address", NEWCOMER)
        owner.page.get_by_role("combobox", name="Role").select_option(label="Support: also helps customers")
        owner.press("Create invitation")
        owner.sees("Copy the link now")
        link = owner.page.get_by_text(re.compile(r"^http\S+/invitations/\S+$")).inner_text()

        # They join, and land on the project once they have a second factor.
        newcomer.page.goto(link)
        newcomer.sees("Owner invited")
        newcomer.fill("Your name", "New Comer")
        newcomer.fill("Password", NEWCOMERS_PASSWORD)
        newcomer.press("Create account and join")
        newcomer.heads("Second factor required")
        newcomer.page.goto(f"{address}/projects")
        newcomer.sees("Your workspace requires a second factor")
        assert "Our project" not in newcomer.page.content()
        newcomer.page.goto(f"{project}/customers")
        newcomer.set_up_app()
        newcomer.page.wait_for_url(f"{project}/customers")
        newcomer.sign_out()
        newcomer.give_password(NEWCOMER, NEWCOMERS_PASSWORD)
        newcomer.second_step("000000")
        newcomer.sees("This code is wrong")
        newcomer.second_step(newcomer.code())

        # As support they help customers, and change no credentials and no catalog.
        newcomer.follow("Customers")
        newcomer.follow("Grant a product")
        newcomer.fill("Customer", "user_7")
        newcomer.fill("Reason", "a gift")
        newcomer.press("Grant the product")
        newcomer.heads("user_7")
        newcomer.page.goto(f"{project}/products/new")
        newcomer.heads("Not allowed")
        newcomer.sees("This needs the role admin, and your role in this project is support.")
        newcomer.page.goto(f"{project}/connection")
        assert newcomer.page.get_by_role("button", name="Verify and save").count() == 0

        # The phone is lost: a recovery code. Then everything is lost, and an owner helps.
        newcomer.sign_out()
        newcomer.give_password(NEWCOMER, NEWCOMERS_PASSWORD)
        newcomer.second_step(newcomer.recovery_codes[0])
        newcomer.page.goto(f"{project}/customers")
        owner.page.goto(team)
        owner.follow("New Comer")
        owner.confirm_by("Reset second factor…", "Reset second factor")
        owner.sees("New Comer has no second factor now. All their sessions have ended.")
        newcomer.page.reload()
        newcomer.heads("Sign in")
        newcomer.give_password(NEWCOMER, NEWCOMERS_PASSWORD)
        newcomer.heads("Second factor required")
        lost = newcomer.recovery_codes
        newcomer.set_up_app()
        newcomer.page.wait_for_url(f"{project}/customers")
        assert not set(lost) & set(newcomer.recovery_codes)

        # The only owner stays; one of two leaves, and is out.
        owner.page.goto(team)
        owner.follow("Owner")
        owner.confirm_by("Leave workspace…", "Leave workspace")
        owner.sees("This person is the only owner of the workspace who can sign in.")
        owner.page.goto(team)
        owner.follow("New Comer")
        owner.page.get_by_role("combobox", name="Role").select_option(label="Owner: everything")
        owner.press("Change role")
        owner.sees("New Comer is owner now.")
        told = log_of(owner, address)
        newcomer.page.goto(team)
        newcomer.follow("New Comer")
        newcomer.confirm_by("Leave workspace…", "Leave workspace")
        newcomer.sees("You have left the workspace “Our workspace”.")
        for page in (team, f"{project}/customers"):
            newcomer.page.goto(page)
            newcomer.heads("Page not found")

    of_owner = [
        "Removed a member",
        "Turned on an authenticator app",
        "Changed the settings of the workspace",
        "Invited somebody",
        "Removed all second factors of a person",
        "Changed a role",
    ]
    of_newcomer = [
        "Accepted an invitation",
        "Turned on an authenticator app",
        "Signed out",
        "Gave the password, and was asked for a second factor",
        "Gave a wrong code",
        "Signed in",
        "Granted a product",
        "Was refused a page for a higher role",
        "Used a recovery code",
    ]
    wanted = {("Owner", what) for what in of_owner} | {("New Comer", what) for what in of_newcomer}
    assert wanted - set(told) == set()
    assert told.count(("New Comer", "Turned on an authenticator app")) == 2
    assert ("New Comer", "Left the workspace") in log_of(owner, address)
