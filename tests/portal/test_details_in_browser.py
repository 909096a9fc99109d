"""Small things of many pages in a real browser: what is copied, where buttons stand, what a failure says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from licenzy.connections.models import Connection, Provider
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.portal.filled_side import LONGEST, Names, fill_side
from tests.portal.test_accessibility import sign_in
from tests.support.cast import Cast, make_connection
from tests.support.servers import served

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

NARROW = {"width": 360, "height": 740}


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


def side_of(cast: Cast, address: str) -> str:
    return f"{address}/projects/{cast.project_id}/test"


def customer_page(runtime: Runtime, cast: Cast, address: str, names: Names | None = None) -> str:
    paths = fill_side(runtime, cast, names=names)
    found = next(path for path in paths if path.startswith("/customers/"))
    return side_of(cast, address) + found


def test_a_lost_answer_promises_nothing(browser: Any, address: str, cast: Cast, runtime: Runtime) -> None:
    page = customer_page(runtime, cast, address)
    sign_in(browser, address)
    browser.goto(page)
    card = browser.locator(".held[id^=ent]").first
    card.locator("summary", has_text="Extend").click()
    browser.route("**/extensions", lambda route: route.abort())
    card.get_by_role("button", name="Extend access").click()
    notice = browser.get_by_role("alert").filter(has_text="No answer arrived.")
    notice.wait_for()
    assert "Check whether the change was made before you try again." in notice.inner_text()
    assert "Nothing was changed" not in notice.inner_text()
    browser.wait_for_function(
        """() => { const box = document.querySelector("#notices .callout").getBoundingClientRect();
        return box.top >= 0 && box.bottom <= innerHeight; }"""
    )
    # Chromium and htmx name the lost answer in the console.
    browser.complaints.clear()


def places(card: Any, buttons: list[Any]) -> list[tuple[int, int]]:
    """Where buttons are within their card, in whole pixels."""
    corner = card.bounding_box()
    boxes = [each.bounding_box() for each in buttons]
    return [(round(box["x"] - corner["x"]), round(box["y"] - corner["y"])) for box in boxes]


def test_buttons_of_an_entitlement_keep_their_places(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    page = customer_page(runtime, cast, address)
    sign_in(browser, address)
    browser.goto(page)
    card = browser.locator(".held[id^=ent]").first
    summaries = card.locator(".act > summary").all()
    assert len(summaries) == 3
    # The page may scroll to a button that is clicked: its place is that within the card.
    before = places(card, summaries)
    for each in summaries:
        each.click()
        assert places(card, summaries) == before
        form = card.locator(".act-form:visible")
        assert form.count() == 1
        below = [each.bounding_box() for each in summaries]
        assert form.bounding_box()["y"] >= max(box["y"] + box["height"] for box in below)
    # The tab key goes through the buttons first, then into the form below them.
    summaries[0].click()
    summaries[0].focus()
    met = []
    for _ in range(3):
        browser.keyboard.press("Tab")
        met.append(browser.evaluate("document.activeElement.tagName"))
    assert met == ["SUMMARY", "SUMMARY", "INPUT"]


def test_a_clipped_reference_is_copied_as_it_is(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    page = customer_page(runtime, cast, address, LONGEST)
    sign_in(browser, address)
    browser.set_viewport_size(NARROW)
    for at in (page, f"{side_of(cast, address)}/customers"):
        browser.goto(at)
        clip = browser.locator(".clip").filter(has_text=LONGEST.subject_ref).first
        copied = clip.evaluate(
            "clip => { getSelection().selectAllChildren(clip); return getSelection().toString(); }"
        )
        assert copied == LONGEST.subject_ref


def test_an_endpoint_shows_its_host(browser: Any, address: str, cast: Cast, runtime: Runtime) -> None:
    fill_side(runtime, cast, names=LONGEST)
    sign_in(browser, address)
    for viewport in ({"width": 1280, "height": 800}, NARROW):
        browser.set_viewport_size(viewport)
        for path in ("/webhooks", "/deliveries"):
            browser.goto(side_of(cast, address) + path)
            lines = browser.locator(".clip-url").first.evaluate(
                """url => { const range = document.createRange(); range.selectNode(url.firstChild);
                const host = range.getBoundingClientRect(), page = url.closest("td").getBoundingClientRect();
                const before = url.parentElement.previousSibling, words = document.createRange();
                if (before) words.selectNode(before);
                return [url.firstChild.textContent, host.left >= page.left && host.right <= page.right,
                        before ? words.getBoundingClientRect().bottom > host.top : true]; }"""
            )
            assert lines == [lines[0], True, True]
            assert lines[0].endswith("127.0.0.1:9999")


def test_a_row_grows_for_the_keyboard_alone(browser: Any, address: str, cast: Cast, runtime: Runtime) -> None:
    fill_side(runtime, cast, names=LONGEST)
    sign_in(browser, address)
    browser.goto(f"{side_of(cast, address)}/customers")
    row = browser.locator("tbody tr").first
    height = row.bounding_box()["height"]
    row.get_by_role("link").first.hover()
    browser.mouse.down()
    assert row.bounding_box()["height"] == height
    browser.mouse.move(0, 0)
    browser.mouse.up()
    row.get_by_role("link").first.focus()
    browser.keyboard.press("Shift+Tab")
    browser.keyboard.press("Tab")
    assert row.bounding_box()["height"] > height


def test_the_navigation_shows_that_there_is_more(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    fill_side(runtime, cast)
    with runtime.database.write() as db:
        db.exec(update(Connection).values(provider=Provider.SANDBOX))
    sign_in(browser, address)
    nav = browser.get_by_role("navigation", name="Project")
    more = "nav => nav.scrollHeight > nav.clientHeight"
    browser.set_viewport_size({"width": 1280, "height": 800})
    browser.goto(f"{side_of(cast, address)}/customers")
    assert nav.get_by_role("link").count() == 15
    assert not nav.evaluate(more)
    browser.set_viewport_size({"width": 1280, "height": 640})
    assert nav.evaluate(more)
    assert "gradient" in nav.evaluate("nav => getComputedStyle(nav).backgroundImage")


def test_copy_buttons_are_large_enough_for_a_finger(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    page = customer_page(runtime, cast, address)
    sign_in(browser, address)
    browser.set_viewport_size(NARROW)
    browser.goto(page)
    boxes = [each.bounding_box() for each in browser.locator("[data-copy]:visible").all()]
    assert len(boxes) > 5
    assert all(box["width"] >= 32 and box["height"] >= 32 for box in boxes)


def test_a_long_reference_leaves_the_breadcrumb_on_one_line(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    page = customer_page(runtime, cast, address, LONGEST)
    sign_in(browser, address)
    browser.set_viewport_size(NARROW)
    browser.goto(page)
    assert browser.locator(".breadcrumbs").bounding_box()["height"] < 30


def test_the_filters_of_deliveries_fit_a_line(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    fill_side(runtime, cast, names=LONGEST)
    sign_in(browser, address)
    browser.set_viewport_size({"width": 1280, "height": 800})
    browser.goto(f"{side_of(cast, address)}/deliveries")
    button = browser.get_by_role("button", name="Apply filters").bounding_box()
    assert abs(button["y"] - browser.get_by_label("State").first.bounding_box()["y"]) < 8


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_only_scripts_update_a_page(
    chromium: Any, address: str, cast: Cast, runtime: Runtime, scripts: bool
) -> None:
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_default_timeout(15_000)
    sign_in(page, address)
    page.goto(f"{side_of(cast, address)}/setup/webhook")
    waiting = page.get_by_text("This page updates automatically.")
    refreshing = page.get_by_role("link", name="Refresh this page")
    assert (waiting.is_visible(), refreshing.is_visible()) == (scripts, not scripts)
    context.close()


def test_what_an_action_said_goes_with_the_next_one(browser: Any, address: str, cast: Cast) -> None:
    sign_in(browser, address)
    browser.goto(f"{side_of(cast, address)}/settings")
    browser.get_by_label("Name", exact=True).fill("Renamed")
    browser.get_by_role("button", name="Save name").click()
    said = browser.locator("#notices .callout")
    said.wait_for()
    browser.goto(f"{address}/account")
    assert said.count() == 0
    browser.goto(f"{side_of(cast, address)}/settings")
    browser.get_by_label("Name", exact=True).fill("Again")
    browser.get_by_role("button", name="Save name").click()
    said.wait_for()
    browser.get_by_label("Name", exact=True).fill(" ")
    browser.get_by_role("button", name="Save name").click()
    browser.locator(".field-error").wait_for()
    assert said.count() == 0


def test_the_button_that_asks_before_it_revokes_stays_in_its_place(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    fill_side(runtime, cast)
    sign_in(browser, address)
    browser.goto(f"{side_of(cast, address)}/api-keys")
    button = browser.locator("summary", has_text="Revoke…").first
    before = button.bounding_box()
    button.click()
    browser.get_by_role("button", name="Revoke API key", exact=True).wait_for()
    assert button.bounding_box() == before
