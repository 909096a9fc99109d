"""The whole story as a newcomer meets it, in a real browser: claim, wizard, pay, timeline, check true."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.conftest import LiveServer
from tests.support.cast import PASSWORD
from tests.support.stripe_side import make_price

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


def test_a_newcomer_gets_from_the_claim_link_to_a_proven_purchase(
    live_server: LiveServer, browser: Any
) -> None:
    page = browser
    page.goto(f"{live_server.url}/claim/{live_server.settings.derived_secret('claim')}")
    claim(page)
    project_id = make_project(page, live_server)
    connect(page)
    # A price whose id the test knows, beside whatever the account holds already.
    price_id = make_price(live_server.runtime, project_id=project_id, title="Pro plan", interval="month")
    map_product(page, live_server, project_id, price_id)
    key = make_key(page, live_server, project_id)
    assert check(live_server, key) is False
    buy(page, live_server, project_id)
    assert check(live_server, key) is True
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_ten_clicks_lead_from_the_claim_link_to_a_proven_purchase(
    live_server: LiveServer, chromium: Any, scripts: bool
) -> None:
    """With what the sandbox offers and the pages propose; picking the price counts as a click."""
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_default_timeout(15_000)
    clicks = Clicks(page)
    page.goto(f"{live_server.url}/claim/{live_server.settings.derived_secret('claim')}")
    fill_in_owner(page)
    clicks.button("Create owner account")
    page.get_by_label("Name").fill("Example shop")
    clicks.button("Create project")
    clicks.button("Use the sandbox")
    page.get_by_role("heading", name="Add a product").wait_for()
    recurring = page.locator("#price_id option", has_text="Pro, monthly").get_attribute("value")
    if scripts:
        clicks.choose("#price_id", recurring)
        page.locator("#price_id-help").get_by_text(recurring).wait_for()
    else:
        page.locator("#price_id").select_option(recurring)
        clicks.button("Save product")
    assert page.get_by_label("Product code").input_value() == "PRO_MONTHLY"
    clicks.button("Save product")
    page.wait_for_url(re.compile(r"/setup/api-key"))
    assert page.locator("#api-key-form [name=name]").input_value() == "backend"
    clicks.button("Create API key")
    page.get_by_text(re.compile(r"^\s*lz_test_[0-9A-Za-z]{49}\s*$")).first.wait_for()
    clicks.link(re.compile("^(Skip this step )?Next: First purchase"))
    clicks.button("Create checkout")
    with context.expect_page() as opened:
        clicks.link(re.compile("^Open the payment page"))
    hosted = opened.value
    clicks.count += 1
    hosted.get_by_role("button", name=re.compile(r"^Pay \$")).click()
    hosted.wait_for_load_state()
    hosted.close()
    proven = page.get_by_text("It works from end to end")
    for _ in range(60):
        if scripts or proven.count():
            break
        page.wait_for_timeout(250)
        page.reload()
    proven.wait_for()
    assert clicks.count <= 10
    context.close()


def test_a_sample_request_proves_the_key_without_a_reload(live_server: LiveServer, browser: Any) -> None:
    page = browser
    page.goto(f"{live_server.url}/claim/{live_server.settings.derived_secret('claim')}")
    claim(page)
    project_id = make_project(page, live_server)
    make_key(page, live_server, project_id)
    assert page.locator("#api-keys-table").get_by_text("never").count() == 1
    page.get_by_role("button", name="Run it").first.click()
    page.locator(".run-answer").get_by_text('"allowed": false').wait_for()
    page.locator(".wizard-step.is-done").get_by_text("API key").wait_for()
    page.locator("#api-keys-table [data-label='Last used']").get_by_text("just now").wait_for()


class Clicks:
    """Clicks on a page, counted."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.count = 0

    def button(self, name: str) -> None:
        self.count += 1
        self._page.get_by_role("button", name=name, exact=True).first.click()

    def link(self, name: re.Pattern[str]) -> None:
        self.count += 1
        self._page.get_by_role("link", name=name).first.click()

    def choose(self, selector: str, value: str) -> None:
        self.count += 1
        self._page.locator(selector).select_option(value)


def claim(page: Any) -> None:
    fill_in_owner(page)
    page.get_by_role("button", name="Create owner account").click()
    page.wait_for_url(re.compile(r"/projects/new"))


def fill_in_owner(page: Any) -> None:
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)


def make_project(page: Any, server: LiveServer) -> str:
    if "/test/" not in page.url:
        page.goto(f"{server.url}/projects/new")
        page.get_by_role("textbox").first.fill("Ada's shop")
        page.locator(
            "form[action*='/projects/new'] button, form:not([action]) button[type=submit]"
        ).last.click()
        page.wait_for_url(re.compile(r"/projects/prj_\w+/test/setup"))
    found = re.search(r"/projects/(prj_\w+)/", page.url)
    assert found is not None, page.url
    return found.group(1)


def connect(page: Any) -> None:
    page.get_by_role("button", name="Use the sandbox").click()
    page.get_by_role("heading", name="Add a product").wait_for()


def map_product(page: Any, server: LiveServer, project_id: str, price_id: str) -> None:
    page.goto(f"{server.url}/projects/{project_id}/test/setup/products")
    pick_price(page, price_id)
    page.get_by_label("Product code").fill("PRO_MONTHLY")
    page.locator("#product-form").get_by_role("button").last.click()
    page.wait_for_url(re.compile(r"/setup/api-key"))


def pick_price(page: Any, price_id: str) -> None:
    """Wait for the form that the choice brings: what is typed into the one before it would be lost."""
    page.locator("#price_id").select_option(price_id)
    page.locator("#price_id-help").get_by_text(price_id).wait_for()


def make_key(page: Any, server: LiveServer, project_id: str) -> str:
    page.goto(f"{server.url}/projects/{project_id}/test/setup/api-key")
    page.locator("#api-key-form [name=name]").fill("backend")
    page.locator("#api-key-form").get_by_role("button").last.click()
    page.get_by_text(re.compile(r"^\s*lz_test_[0-9A-Za-z]{49}\s*$")).first.wait_for()
    shown = re.search(r"lz_test_[0-9A-Za-z]{49}", page.content())
    assert shown is not None
    return shown.group(0)


def buy(page: Any, server: LiveServer, project_id: str) -> None:
    page.goto(f"{server.url}/projects/{project_id}/test/setup/purchase")
    pay(page)
    # The timeline fills in by itself: nothing is clicked or reloaded here.
    page.get_by_text("It works from end to end").wait_for(timeout=15_000)


def pay(page: Any) -> None:
    page.get_by_label("Buyer").fill("user_123")
    page.get_by_role("button", name="Create checkout").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=re.compile("Open the payment page")).click()
    hosted = opened.value
    hosted.get_by_role("button", name=re.compile(r"^Pay \$")).click()
    hosted.wait_for_load_state()
    hosted.close()


def check(server: LiveServer, key: str) -> bool:
    answer = httpx.post(
        f"{server.url}/v1/access/check",
        json={"subject_ref": "user_123"},
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["allowed"])
