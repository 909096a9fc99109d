"""Included units in a real browser, with scripts and without: rows, the sentence, and what is saved."""

from __future__ import annotations

from typing import Any

import pytest

from licenzy.alignment.modes import Mode
from licenzy.catalog.included import Every, IncludedUnits, Rollover, lines_of
from licenzy.catalog.queries import product_by_code
from licenzy.connections.actions import connect_sandbox
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor
from tests.conftest import LiveServer
from tests.portal.test_accessibility import complaints_here, sign_in
from tests.support.cast import Cast, make_cast

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]
MONTHLY = "gets 1,000 images each month"


@pytest.fixture
def owner(live_server: LiveServer) -> Cast:
    """The owner of a project that is connected to the sandbox."""
    parts = live_server.runtime
    with parts.database.write() as db:
        cast = make_cast(db)
    connect_sandbox(
        parts.database,
        parts.gateway,
        parts.secret_box,
        parts.settings,
        project_id=cast.project_id,
        project_name="Our project",
        actor=Actor(cast.owner.user_id),
        now=parts.clock(),
    )
    return cast


def included(live_server: LiveServer, cast: Cast) -> tuple[IncludedUnits, ...]:
    with live_server.runtime.database.read() as db:
        found = product_by_code(db, Scope(cast.project_id, Mode.TEST), product_code="PRO")
    assert found is not None
    return lines_of(found.included)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_plan_with_included_units_is_sold(
    live_server: LiveServer, chromium: Any, owner: Cast, scripts: bool
) -> None:
    context = chromium.new_context(java_script_enabled=scripts, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/projects/{owner.project_id}/test/products/new")
    monthly = page.locator("#price_id option", has_text="Pro, monthly").get_attribute("value")
    page.locator("#price_id").select_option(monthly)
    if not scripts:
        page.get_by_role("button", name="Save product").click()
    page.locator("#price_id-help").get_by_text(monthly).wait_for()
    page.get_by_label("Product code").fill("PRO")
    page.get_by_role("button", name="1,000 a month, 500 carry over").click()
    row = page.get_by_role("group", name="Included unit 1")
    row.get_by_label("Unit", exact=True).fill("images")
    sentence = page.get_by_role("region", name="What a buyer gets")
    if scripts:
        sentence.get_by_text(f"{MONTHLY}; up to 500 unused images carry over once.").wait_for()
        row.get_by_label("Unused units carry over once").uncheck()
        sentence.get_by_text(f"{MONTHLY}.").wait_for()
        assert not row.get_by_label("Carry over at most").is_visible()
        row.get_by_label("Unused units carry over once").check()
    page.get_by_role("button", name="20 a day").click()
    second = page.get_by_role("group", name="Included unit 2")
    second.get_by_label("Unit", exact=True).fill("pages")
    page.get_by_role("button", name="Add a unit").click()
    third = page.get_by_role("group", name="Included unit 3")
    third.get_by_label("Unit", exact=True).wait_for()
    if scripts:
        assert page.evaluate("document.activeElement.id") == "included-2-unit"
    page.get_by_role("button", name="Remove included unit 3").click()
    third.wait_for(state="detached")
    second.get_by_label("In a trial").fill("5")
    # Enter saves, and presses no button that changes the rows. A wrong value first.
    second.get_by_label("Units", exact=True).fill("-20")
    second.get_by_label("Units", exact=True).press("Enter")
    second.get_by_text("A whole number from 0").wait_for()
    second.get_by_label("Units", exact=True).fill("20")
    second.get_by_label("Units", exact=True).press("Enter")
    page.get_by_text("PRO is ready to be sold.").wait_for()
    images = IncludedUnits("images", 1000, Every.MONTH, Rollover(500))
    assert included(live_server, owner) == (images, IncludedUnits("pages", 20, Every.DAY, trial_units=5))

    page.get_by_role("link", name="Edit PRO").click()
    says = "$12.00 a month and gets 1,000 images each month and 20 pages each day"
    page.get_by_role("main").get_by_text(says).first.wait_for()
    page.get_by_role("button", name="Remove included unit 2").click()
    second.wait_for(state="detached")
    page.get_by_role("button", name="Save product").click()
    page.get_by_text("PRO is saved.").wait_for()
    assert included(live_server, owner) == (images,)
    context.close()


def test_the_form_is_for_everybody(live_server: LiveServer, browser: Any, owner: Cast) -> None:
    """Rows with errors, too: the form after it was refused."""
    sign_in(browser, live_server.url)
    path = f"/projects/{owner.project_id}/test/products/new"
    page = browser
    page.goto(live_server.url + path)
    page.locator("#price_id").select_option(label="Pro, monthly: $12.00 / month")
    page.get_by_label("Product code").fill("PRO")
    page.get_by_role("button", name="1,000 a month, 500 carry over").click()
    page.get_by_role("button", name="20 a day").click()
    page.get_by_role("group", name="Included unit 2").get_by_label("Unit", exact=True).fill("A wrong name")
    page.get_by_role("button", name="Save product").click()
    page.get_by_text("Use 1 to 32 lower-case letters").wait_for()
    assert complaints_here(page, path) == []
