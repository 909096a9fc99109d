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
    set_up_webhook(page, live_server, project_id)
    map_product(page, live_server, project_id, price_id)
    key = make_key(page, live_server, project_id)
    assert check(live_server, key) is False
    buy(page, live_server, project_id)
    assert check(live_server, key) is True
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_eight_forms_lead_from_an_empty_installation_to_all_green_in_test(
    live_server: LiveServer, browser: Any
) -> None:
    """With what the sandbox offers, and no more than the pages say: the wizard's own ways lead on."""
    page, sent = browser, count_forms(browser, live_server)
    page.goto(f"{live_server.url}/claim/{live_server.settings.derived_secret('claim')}")
    claim(page)
    make_project(page, live_server)
    page.locator("#stripe_key").press_sequentially("pk_test_51")
    page.get_by_text("This is a publishable key").wait_for()
    connect(page)
    go_on(page, "Webhook")
    page.get_by_role("button", name="Set the webhook up").click()
    page.get_by_text("Listening for the first signed event").wait_for()
    go_on(page, "Products")
    recurring = page.locator("#price_id optgroup[label=Recurring] option").first.get_attribute("value")
    pick_price(page, recurring)
    page.get_by_label("Product code").fill("PRO_MONTHLY")
    page.locator("#product-form").get_by_role("button").last.click()
    page.locator("table").get_by_text("PRO_MONTHLY").first.wait_for()
    go_on(page, "API key")
    page.locator("#api-key-form [name=name]").fill("backend")
    page.locator("#api-key-form").get_by_role("button").last.click()
    page.get_by_role("button", name="Run it").first.click()
    page.locator(".run-answer").get_by_text('"allowed": false').wait_for()
    go_on(page, "First purchase")
    pay(page)
    page.locator(".wizard-step.is-done").nth(4).wait_for(timeout=15_000)
    page.get_by_text("5 of 5 proven").wait_for()
    assert len(sent) == 8, sent


def count_forms(page: Any, server: LiveServer) -> list[str]:
    """The addresses of forms as they are sent to the product; what is told while typing is none."""
    sent: list[str] = []

    def seen(request: Any) -> None:
        typing = request.url.endswith("/verdict")
        if request.method == "POST" and request.url.startswith(server.url) and not typing:
            sent.append(request.url)

    page.on("request", seen)
    return sent


def go_on(page: Any, title: str) -> None:
    page.locator("#wizard-foot").get_by_role("link", name=re.compile(f": {title}$")).click()
    page.wait_for_url(re.compile(r"/setup/"))
    page.locator(".wizard-steps [aria-current]").get_by_text(title).first.wait_for()


def claim(page: Any) -> None:
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Become the owner").click()
    page.wait_for_url(re.compile(r"/projects"))


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
    page.get_by_role("heading", name="Stripe is connected").wait_for()


def set_up_webhook(page: Any, server: LiveServer, project_id: str) -> None:
    page.goto(f"{server.url}/projects/{project_id}/test/setup/webhook")
    page.get_by_role("button", name="Set the webhook up").click()
    page.get_by_text("whsec_…").first.wait_for()


def map_product(page: Any, server: LiveServer, project_id: str, price_id: str) -> None:
    page.goto(f"{server.url}/projects/{project_id}/test/setup/products")
    pick_price(page, price_id)
    page.get_by_label("Product code").fill("PRO_MONTHLY")
    page.locator("#product-form").get_by_role("button").last.click()
    page.get_by_text("PRO_MONTHLY").first.wait_for()
    page.locator("table").get_by_text("PRO_MONTHLY").first.wait_for()


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
    page.get_by_role("button", name="Open a checkout").click()
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
