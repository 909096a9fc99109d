"""A usual plan is set up from the pages alone, and lived through in the lab, by what the pages say.

"Pro, 20 € a month or 200 € a year, 1,000 images each month, half carried over, 14 days' trial once, free
tier of 20 images a day". Nothing is found but by its visible label, as a person finds it.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from licenzy.alignment.modes import Mode
from licenzy.catalog.queries import has_trials
from licenzy.connections.actions import connect_sandbox, register_endpoint
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor
from tests.conftest import LiveServer
from tests.portal.test_accessibility import sign_in
from tests.support.cast import Cast

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
MOST_ACTIONS = 40
CUSTOMER = "user_lab_1"


class Hands:
    """Clicks and fields of a page, found by their labels and counted."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.count = 0

    def link(self, name: str) -> None:
        self.count += 1
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def button(self, name: str, *, within: Any = None) -> None:
        self.count += 1
        (within or self.page).get_by_role("button", name=name, exact=True).first.click()

    def text(self, text: str) -> None:
        self.count += 1
        self.page.get_by_text(text).first.click()

    def fill(self, label: str, value: str, *, within: Any = None) -> None:
        self.count += 1
        (within or self.page).get_by_label(label, exact=True).fill(value)

    def choose(self, label: str, option: str) -> None:
        self.count += 1
        self.page.get_by_label(label, exact=True).select_option(label=option)

    def check(self, role: str, name: str) -> None:
        self.count += 1
        self.page.get_by_role(role, name=re.compile(f"^{name}")).check()


@pytest.fixture
def page(live_server: LiveServer, browser: Any, cast: Cast) -> Any:
    """The first page after signing in, of a project that is connected to the sandbox."""
    parts, actor = live_server.runtime, Actor(cast.owner.user_id)
    stripe_side = (parts.database, parts.gateway, parts.secret_box)
    connect_sandbox(
        *stripe_side,
        parts.settings,
        project_id=cast.project_id,
        project_name="Our project",
        actor=actor,
        now=parts.clock(),
    )
    register_endpoint(
        *stripe_side,
        Scope(cast.project_id, Mode.TEST),
        base_url=parts.settings.base_url,
        has_trials=has_trials,
        actor=actor,
        now=parts.clock(),
    )
    sign_in(browser, live_server.url)
    browser.goto(f"{live_server.url}/projects/{cast.project_id}/test")
    return browser


def test_a_plan_is_set_up_and_lived_through(page: Any) -> None:
    hands = Hands(page)
    set_up(hands)
    print("ACTIONS", hands.count)
    assert hands.count <= MOST_ACTIONS


def set_up(hands: Hands) -> None:
    page = hands.page
    hands.link("Products")
    hands.link("Add a product")
    hands.text("Create a price in the sandbox")
    hands.fill("Name", "Pro")
    hands.fill("Amount", "20")
    hands.fill("Currency", "EUR")
    hands.button("Create price")
    page.get_by_text("Pro, €20.00 every month, is created in the sandbox.").wait_for()
    assert page.get_by_label("Product code").input_value() == "PRO"
    hands.button("1,000 a month, 500 carry over")
    images = page.get_by_role("group", name="Included unit 1")
    hands.fill("Unit", "images", within=images)
    hands.text("More: features, limits, trial")
    hands.fill("Trial days optional", "14")
    assert page.get_by_label("One trial per customer").is_checked()
    hands.button("Save product")
    page.get_by_text("PRO is ready to be sold.").wait_for()
    hands.link("Edit PRO")
    hands.text("Create a price in the sandbox")
    hands.fill("Amount", "200")
    page.screenshot(path="/tmp/h-a.png", full_page=True)
    assert page.get_by_label("Charged").input_value() == "year"
    hands.button("Create and add price")
    page.get_by_text("PRO is sold at €200.00 every year as year.").wait_for()
    hands.link("Products")
    hands.link("New product")
    hands.check("radio", "Free")
    hands.fill("Product code", "FREE")
    hands.button("20 a day")
    hands.fill("Unit", "images", within=images)
    hands.check("checkbox", "Default product")
    page.screenshot(path="/tmp/h-b.png", full_page=True)
    hands.button("Save product")
    page.get_by_text("FREE is saved.").wait_for()
    page.screenshot(path="/tmp/h-c.png", full_page=True)
