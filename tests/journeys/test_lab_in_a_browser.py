"""Somebody walks through the lifecycle lab in a real browser: buys, renews, fails, recovers, refunds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from licenzy.catalog.queries import products
from tests.conftest import LiveServer
from tests.portal.test_accessibility import AXE, LOOK, sign_in
from tests.support.cast import Cast
from tests.support.playground import make_playground

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


@pytest.fixture
def lab(live_server: LiveServer, browser: Any, cast: Cast) -> Any:
    """A page that stands before an open checkout in the lab."""
    make_playground(live_server.runtime, cast)
    sign_in(browser, live_server.url)
    browser.goto(f"{live_server.url}/projects/{cast.project_id}/test")
    browser.get_by_role("link", name="Lab", exact=True).click()
    browser.get_by_label("Product").select_option("PRO_MONTHLY")
    browser.get_by_role("button", name="Create checkout").click()
    browser.wait_for_url(re.compile(r"/lab/att_\w+$"))
    return browser


def press(page: Any, button: str, step: str) -> Any:
    """Press a button and wait until its step is over, without a reload; gives the newest step."""
    page.get_by_role("button", name=re.compile(rf"^{button}\b")).first.click()
    newest = page.locator(".lab-step.is-newest")
    newest.filter(has_text=step).wait_for()
    page.locator("#lab-live:not([hx-get])").wait_for(timeout=25_000)
    return newest


def verdict(page: Any) -> str:
    return str(page.locator("#lab-now").inner_text())


def test_each_step_shows_what_it_did(lab: Any) -> None:
    assert verdict(lab) == "No access"
    paid = press(lab, "Pay", "Paid by card")
    assert verdict(lab) == "Has access"
    assert "no entitlement" in paid.inner_text()
    assert "checkout.session.completed" in paid.inner_text()

    renewed = press(lab, "Renew", "Renewed")
    assert "Valid until" in renewed.inner_text()
    assert "The access check still answers allowed." in renewed.inner_text()
    complaints(lab)

    failed = press(lab, "Fail the renewal", "The renewal failed")
    assert verdict(lab) == "No access"
    assert "past due" in failed.inner_text()
    press(lab, "Recover", "The payment recovered")
    assert verdict(lab) == "Has access"
    refunded = press(lab, "Refund all", "Refunded in full")
    assert verdict(lab) == "No access"
    assert "refunded" in refunded.inner_text()
    titles = lab.locator(".lab-step h3").all_inner_texts()
    steps = [title.partition("\n")[0] for title in titles]  # Without how far the clock moved.
    assert steps == [
        "Refunded in full",
        "The payment recovered",
        "The renewal failed",
        "Renewed",
        "Paid by card",
    ]
    complaints(lab)


def test_a_lost_webhook_is_found_again(lab: Any) -> None:
    press(lab, "Pay", "Paid by card")
    lab.get_by_label("Never").check()
    press(lab, "Cancel now", "Canceled at once")
    lab.get_by_text("Stripe knows more than Licenzy").wait_for()
    assert verdict(lab) == "Has access"
    complaints(lab)
    press(lab, "Reconcile with Stripe", "Reconciled with Stripe")
    assert verdict(lab) == "No access"
    lab.get_by_text("Stripe knows more than Licenzy").wait_for(state="detached")


def test_the_buttons_are_pressed_by_the_keyboard(lab: Any) -> None:
    button = lab.get_by_role("button", name=re.compile(r"^Pay by bank debit"))
    button.focus()
    lab.keyboard.press("Enter")
    lab.locator(".lab-step.is-newest", has_text="Paid by slow bank debit").wait_for()
    lab.locator("#lab-live:not([hx-get])").wait_for(timeout=25_000)
    assert verdict(lab) == "No access"
    press(lab, "The debit arrives", "The debit arrived")
    assert verdict(lab) == "Has access"


def complaints(page: Any) -> None:
    """Nothing for axe to complain of, in both colours, and nothing wider than the screen."""
    for width, scheme in ((1280, "light"), (360, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate("() => new Promise(requestAnimationFrame)")
        page.evaluate(AXE)
        assert page.evaluate(LOOK) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_limits_are_shown_on_narrow_and_wide_screens(
    live_server: LiveServer, browser: Any, cast: Cast
) -> None:
    playground = make_playground(live_server.runtime, cast)
    many = {f"limit_number_{number}_of_a_large_plan": number * 1000 for number in range(12)}
    with playground.runtime.database.write() as db:
        for product in products(db, playground.scope):
            product.limits = {**many, "projects": 5}
    attempt = playground.bought()
    sign_in(browser, live_server.url)
    browser.goto(f"{live_server.url}/projects/{cast.project_id}/test/lab/{attempt}")
    gone = press(browser, "Cancel now", "Canceled at once")
    assert "Limit\nprojects\n5\nbecame\nnothing" in re.sub(r"\s*\n\s*", "\n", gone.inner_text())
    assert browser.locator(".lab-limits").count() == 0
    earlier = browser.locator(".lab-earlier").inner_text()
    assert "limit_number_9_of_a_large_plan 9,000, projects 5." in earlier
    complaints(browser)
