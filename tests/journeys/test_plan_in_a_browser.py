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


class Hands:
    """Clicks and fields of a page, found by their labels and counted."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.count = 0

    def link(self, name: str) -> None:
        self.count += 1
        self.page.get_by_role("link", name=re.compile(rf"^{name}\b")).first.click()

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
    set_up_plan(hands)
    assert hands.count <= MOST_ACTIONS
    page.get_by_role("link", name="Products", exact=True).click()
    sell_pack(page)
    page.get_by_role("link", name="Try it in the lab").click()
    live_through(page)


def set_up_plan(hands: Hands) -> None:
    """All of the sentence, in 27 clicks and fields when this was written."""
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
    included = page.get_by_role("group", name="Included unit 1")
    hands.fill("Unit", "images", within=included)
    hands.text("More: features, limits, trial")
    hands.fill("Trial days optional", "14")
    assert page.get_by_label("One trial per customer").is_checked()
    hands.button("Save product")
    page.get_by_text("PRO is ready to be sold.").wait_for()

    # The first trial on sale needs one more type of event, and the page says so.
    page.get_by_text("It does not send customer.subscription.trial_will_end.").wait_for()
    hands.link("Fix it")
    hands.button("Check and repair endpoint")
    page.get_by_text("The webhook endpoint is set up in Stripe.").wait_for()

    hands.link("Products")
    hands.link("Edit PRO")
    hands.text("Create a price in the sandbox")
    hands.fill("Amount", "200")
    assert page.get_by_label("Currency").input_value() == "EUR"
    assert page.get_by_label("Charged").input_value() == "year"
    hands.button("Create and add price")
    page.get_by_text("PRO is sold at €200.00 every year as year.").wait_for()
    says = (
        "A buyer pays €20.00 a month or €200.00 a year and gets 1,000 images each month; "
        "up to 500 unused images carry over once; 14 days’ trial with 1,000 images"
    )
    page.get_by_text(says).first.wait_for()

    hands.link("Products")
    hands.link("New product")
    hands.check("radio", "Free")
    hands.fill("Product code", "FREE")
    hands.button("20 a day")
    hands.fill("Unit", "images", within=included)
    hands.check("checkbox", "Default product")
    hands.button("Save product")
    page.get_by_text("FREE is saved.").wait_for()
    page.get_by_text("default product, 20 images each day").wait_for()


def sell_pack(page: Any) -> None:
    """500 images for 9 €, which stay until they are used."""
    page.get_by_role("link", name="New product", exact=True).click()
    page.get_by_text("Create a price in the sandbox").click()
    page.get_by_label("Name", exact=True).fill("500 images")
    page.get_by_label("Amount", exact=True).fill("9")
    page.get_by_label("Currency", exact=True).fill("EUR")
    page.get_by_label("Charged").select_option(label="once")
    page.get_by_role("button", name="Create price").click()
    page.get_by_text("500 images, €9.00 once, is created in the sandbox.").wait_for()
    page.get_by_role("radio", name=re.compile("^Usage pack")).check()
    page.get_by_label("Product code").fill("IMAGES")
    page.get_by_label("Unit", exact=True).first.fill("images")
    page.get_by_label("Units in one pack").fill("500")
    page.get_by_role("button", name="Save product").click()
    page.get_by_text("IMAGES is ready to be sold.").wait_for()


def live_through(page: Any) -> None:
    """A customer's two years. Each figure is worked out from the sentence and the pack of 500."""
    plan = Purchase(page)
    plan.create("PRO")
    # Nothing is bought yet: the 20 of the free tier, of which 5 are used.
    plan.use(5, left="15 left.")
    page.get_by_text("They were units of the default product.").wait_for()
    page.get_by_text("15 of 20 left.").wait_for()

    plan.press("Pay", "Paid by card")
    # The trial has what a month has. The free tier is hidden behind it.
    assert plan.shown() == ["PRO trialing 1,000 of 1,000 images left"]
    plan.use(1000, left="0 left.")
    assert plan.shown() == ["PRO trialing 0 of 1,000 images left"]
    page.get_by_role("button", name="Use images").click()
    page.get_by_text("Only 0 images are left. Nothing was used.").wait_for()

    page.get_by_role("link", name="Buy something else").click()
    pack = Purchase(page)
    pack.create("IMAGES")
    pack.press("Pay", "Paid by card")
    assert pack.shown() == ["PRO trialing 0 of 1,000 images left", "IMAGES active 500 images left"]
    # The window is empty, so the pack burns.
    pack.use(100, left="400 left.")
    # 0 + 400 of 1,000 + 500.
    assert_customer(page, "400 of 1,500", status="trialing")

    page.get_by_role("link", name="Lab", exact=True).click()
    page.get_by_role("link", name=re.compile(r"^user_lab_1\b.*\bPRO$")).click()
    plan.press("Renew", "Renewed")
    # The trial is over and the first month paid: nothing of a trial carries over, and nothing was left.
    assert plan.shown() == ["PRO active 1,000 of 1,000 images left", "IMAGES active 400 images left"]
    # What ends soonest burns first: the month, not the pack. 1,000 - 300 = 700.
    plan.use(300, left="1,100 left.")
    assert plan.shown() == ["PRO active 700 of 1,000 images left", "IMAGES active 400 images left"]

    plan.press("Switch to Pro, €200.00 every year", "The plan changed")
    # A year begins now, with a month's 1,000. Of the 700 that were left at most 500 carry over.
    assert plan.shown() == ["PRO active 1,500 of 1,500 images left", "IMAGES active 400 images left"]
    # 1,500 + 400 of 1,500 + 500.
    assert_customer(page, "1,900 of 2,000", status="active")
    # The 500 that carried over burn first, then 700 of this month's own: 300 are left of it.
    plan.use(1200, left="700 left.")
    plan.press("A month later", "A month later")
    # The second month of the year: 1,000, and the 300.
    assert plan.shown() == ["PRO active 1,300 of 1,300 images left", "IMAGES active 400 images left"]

    plan.press("Renew", "Renewed")
    # The last month of the year was not touched: 500 of its own 1,000 carry over into the second year.
    assert plan.shown() == ["PRO active 1,500 of 1,500 images left", "IMAGES active 400 images left"]
    plan.press("Cancel at period end", "Canceled at period end")
    assert plan.shown("ends") == ["PRO active 1,500 of 1,500 images left"]
    plan.press("Cancel now", "Canceled at once")
    # What the subscription included ends with it. A pack stays, and gives access while it lasts.
    assert plan.shown() == ["PRO canceled", "IMAGES active 400 images left"]
    # The free tier is back, with a day's 20: 20 + 400 of 20 + 500.
    assert_customer(page, "420 of 520", status="canceled")


class Purchase:
    """A purchase in the lab, and how many steps it has come."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.steps = 0

    def create(self, product_code: str) -> None:
        self.page.get_by_label("Product").select_option(label=product_code)
        self.page.get_by_role("button", name="Create checkout").click()

    def press(self, button: str, title: str) -> None:
        """Press a button, and wait until its events have arrived and its clock stands."""
        self.page.get_by_role("button", name=re.compile(rf"^{button}\b")).first.click()
        self._wait(title)
        self.page.get_by_role("button", name="A day later", disabled=False).wait_for(timeout=25_000)
        self.page.get_by_text("Reload if this does not update.").wait_for(state="detached", timeout=25_000)

    def use(self, images: int, *, left: str) -> None:
        self.page.get_by_label("Units to use").fill(str(images))
        self.page.get_by_role("button", name="Use images").click()
        self._wait(f"Units were used {images:,} images. {left}")

    def _wait(self, title: str) -> None:
        self.steps += 1
        self.page.get_by_text(re.compile(rf"^Step {self.steps} · ")).wait_for()
        self.page.get_by_role("heading", name=re.compile(f"^{re.escape(title)}")).first.wait_for()

    def shown(self, until: str = "") -> list[str]:
        """What the lab says that the customer has, without dates; only what `until` a date, where named."""
        entries = self.page.get_by_role("list", name="What the customer has").get_by_role("listitem")
        said = [" ".join(text.split()) for text in entries.all_inner_texts()]
        dates = re.compile(r" (valid until|ends|ended) \d.*")
        return [dates.sub("", each) for each in said if not until or f" {until} " in each]


def assert_customer(page: Any, images: str, *, status: str) -> None:
    """What the customer's own page says: the balance of images, and the status of the subscription."""
    page.get_by_role("link", name="Customer", exact=True).click()
    page.get_by_role("heading", name="Usage").wait_for()
    assert page.get_by_text(images, exact=True).is_visible()
    assert page.get_by_role("article", name="PRO").get_by_text(status, exact=True).is_visible()
    page.go_back()
    page.get_by_role("heading", name="What happens next").wait_for()
