"""The shell in a real browser: a narrow screen, the dark, no scripts, and a policy that nothing breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.support.cast import PASSWORD, Cast
from tests.support.servers import served


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


def sign_in(page: Any, address: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("E-mail address").fill("owner@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)


PAGES = ["/projects", "/projects/new", "/account", "/nothing-here", "/docs"]


def test_pages_fit_a_narrow_screen_in_both_colours(browser: Any, address: str, cast: Cast) -> None:
    browser.set_viewport_size({"width": 360, "height": 740})
    sign_in(browser, address)
    for scheme in ("light", "dark"):
        browser.emulate_media(color_scheme=scheme)
        for path in [*PAGES, f"/projects/{cast.project_id}/test", f"/projects/{cast.project_id}/live"]:
            browser.goto(address + path)
            assert browser.evaluate("document.documentElement.scrollWidth") <= 360, path
            assert browser.locator("html").get_attribute("data-bs-theme") == scheme
            assert browser.get_by_role("main").count() == 1
            assert browser.get_by_role("heading", level=1).count() == 1


def test_test_mode_is_coloured_and_live_is_plain_and_one_switches_in_place(
    browser: Any, address: str, cast: Cast
) -> None:
    sign_in(browser, address)
    good = "getComputedStyle(document.documentElement).getPropertyValue('--lz-good').trim()"
    browser.goto(f"{address}/projects/{cast.project_id}/test/products")
    colours = {}
    for mode, other in (("test", "Live"), ("live", "Test")):
        assert browser.url.endswith(f"/{mode}/products")
        switch = browser.get_by_role("navigation", name="Mode")
        here = switch.locator("[aria-current]")
        assert here.inner_text().lower() == mode
        colours[mode] = here.evaluate("element => getComputedStyle(element).backgroundColor")
        assert browser.locator(".mode-band").count() == (1 if mode == "test" else 0)
        switch.get_by_role("link", name=other).click()
        browser.wait_for_url(f"**/{other.lower()}/products")
    assert colours["test"] != colours["live"]
    painted = (
        "colour => { document.body.style.color = colour; return getComputedStyle(document.body).color; }"
    )
    assert browser.evaluate(painted, browser.evaluate(good)) not in colours.values()


@pytest.mark.parametrize("height", [800, 650, 480, 300])
def test_who_is_signed_in_can_sign_out_at_any_height(
    browser: Any, address: str, cast: Cast, height: int
) -> None:
    sign_in(browser, address)
    browser.set_viewport_size({"width": 1366, "height": height})
    browser.goto(f"{address}/projects/{cast.project_id}/test/settings")
    menu = browser.get_by_label("My account")
    menu.scroll_into_view_if_needed()
    menu.click()
    for name in ("Dark", "Sign out"):
        button = browser.get_by_role("button", name=name)
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
    browser.get_by_role("button", name="Sign out").click()
    browser.get_by_role("heading", name="Sign in").wait_for()


def test_on_a_narrow_screen_the_navigation_is_a_sheet(browser: Any, address: str, cast: Cast) -> None:
    sign_in(browser, address)
    browser.set_viewport_size({"width": 360, "height": 740})
    browser.goto(f"{address}/projects/{cast.project_id}/test/products")
    sheet = browser.get_by_role("navigation", name="Project")
    assert not sheet.is_visible()
    button = browser.get_by_role("button", name="Menu", exact=True)
    button.focus()
    browser.keyboard.press("Enter")
    sheet.wait_for()
    assert browser.evaluate("document.activeElement.getAttribute('aria-label')") == "Close the menu"
    # Escape closes an open menu first, then the sheet, and the focus returns to what opened each.
    browser.keyboard.press("Tab")
    browser.keyboard.press("Enter")
    browser.get_by_role("link", name="All projects").first.wait_for()
    browser.keyboard.press("Escape")
    assert sheet.is_visible()
    browser.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    assert browser.evaluate("document.activeElement.getAttribute('aria-label')") == "Menu"
    button.click()
    sheet.get_by_role("link", name="Settings").click()
    browser.wait_for_url("**/test/settings")


def test_the_sheet_and_the_menus_open_without_scripts(
    chromium: Any, browser: Any, address: str, cast: Cast
) -> None:
    sign_in(browser, address)
    context = chromium.new_context(
        java_script_enabled=False,
        viewport={"width": 360, "height": 740},
        storage_state=browser.context.storage_state(),
    )
    page = context.new_page()
    page.goto(f"{address}/projects/{cast.project_id}/test/products")
    page.get_by_role("button", name="Menu", exact=True).click()
    page.locator(".project-chip").click()
    page.get_by_role("navigation", name="Projects").get_by_role("link", name="Our project").click()
    page.wait_for_url(f"**/projects/{cast.project_id}/test")
    page.get_by_role("button", name="Menu", exact=True).click()
    page.get_by_label("My account").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    context.close()


def test_the_keyboard_reaches_the_content_first(browser: Any, address: str, cast: Cast) -> None:
    sign_in(browser, address)
    browser.goto(f"{address}/account")
    browser.keyboard.press("Tab")
    assert browser.evaluate("document.activeElement.textContent") == "Skip to the content"
    browser.keyboard.press("Enter")
    browser.locator("#main:focus").wait_for()


def test_the_chosen_colours_stay(browser: Any, address: str, cast: Cast) -> None:
    sign_in(browser, address)
    browser.goto(f"{address}/projects")
    browser.get_by_label("My account").click()
    browser.get_by_role("button", name="Dark").click()
    browser.locator("html[data-bs-theme=dark]").wait_for()
    browser.reload()
    assert browser.locator("html").get_attribute("data-bs-theme") == "dark"


def test_a_refused_form_is_swapped_in_place(browser: Any, address: str, cast: Cast) -> None:
    sign_in(browser, address)
    browser.goto(f"{address}/account")
    browser.evaluate("window.stayed = true")
    browser.get_by_label("Current password").fill("wrong")
    browser.get_by_label("New password").fill("an entirely new one")
    browser.get_by_role("button", name="Change password").click()
    browser.get_by_text("This is not your current password.").wait_for()
    assert browser.evaluate("window.stayed") is True


def test_an_installation_can_be_claimed_without_scripts(
    chromium: Any, address: str, runtime: Runtime
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/claim/{runtime.settings.derived_secret('claim')}")
    page.get_by_label("Your name").fill("First Owner")
    page.get_by_label("E-mail address").fill("first@example.com")
    page.get_by_label("Password").fill("some unrelated words")
    page.get_by_role("button", name="Create owner account").click()
    page.get_by_label("Name").fill("Night Sky")
    page.get_by_role("button", name="Create project").click()
    page.wait_for_url("**/test/setup**")
    page.goto(f"{address}/account")
    page.get_by_label("Current password").fill("some unrelated words")
    page.get_by_label("New password").fill("other unrelated words")
    page.get_by_role("button", name="Change password").click()
    page.get_by_text("Password changed.").wait_for()
    page.get_by_label("My account").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    context.close()


def test_a_slash_goes_to_the_search_field(browser: Any, address: str, cast: Cast) -> None:
    sign_in(browser, address)
    browser.goto(f"{address}/projects/{cast.project_id}/test/search")
    browser.keyboard.press("/")
    assert browser.evaluate("document.activeElement.matches('[data-search-field]')")
    browser.keyboard.type("Set/")
    browser.keyboard.press("Enter")
    browser.wait_for_url("**/search?q=Set%2F")
    browser.goto(f"{address}/projects/{cast.project_id}/test/search?q=settings")
    browser.get_by_role("main").get_by_role("link", name="Settings").click()
    browser.wait_for_url("**/settings")
