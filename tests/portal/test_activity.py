"""The activity panel of the overview: sums, table, spans, and the charts that a browser draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.kit.clock import whole_hours
from licenzy.observations.actions import count_checks
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.portal.set_up_side import HTMX, side_pages
from tests.portal.test_accessibility import sign_in
from tests.setup.test_activity import bought, used
from tests.support.cast import Cast, make_connection, make_subject
from tests.support.clock import START
from tests.support.servers import served


@pytest.fixture
def busy(runtime: Runtime, cast: Cast) -> None:
    """A test side that was asked, bought from and consumed of: now, and three days ago."""
    scope = Scope(cast.project_id, Mode.TEST)
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        subject = make_subject(db, project_id=cast.project_id)
        for at in (START, START - timedelta(days=3)):
            count_checks(db, scope, hour=whole_hours(at), allowed=1200, denied=34)
            bought(db, connection, subject, at=at)
            used(db, subject, 21, at=at)


def table_of(page: str) -> list[list[str]]:
    """The cells of the panel's table, row by row."""
    panel = page.partition('id="activity"')[2].partition("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", panel, re.DOTALL)
    cells = [re.findall(r"<(?:time|data) .*?</(?:time|data)>", row) for row in rows[1:]]
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in cells]


def test_sums_and_table(app: Flask, cast: Cast, busy: None) -> None:
    page = side_pages(app, cast, email=cast.colleague.email).get().text
    for words in ("2,468", "2,400 allowed", "68 denied", "<strong>42</strong> in the last 30 days"):
        assert words in page
    table = table_of(page)
    assert len(table) == 30
    assert table[-1] == ["23 Nov 2026", "1,200", "34", "1", "21"]
    assert table[-4] == ["20 Nov 2026", "1,200", "34", "1", "21"]
    assert table[-2] == ["22 Nov 2026", "0", "0", "0", "0"]


def test_the_span_is_chosen_by_a_plain_link(app: Flask, cast: Cast, busy: None) -> None:
    pages = side_pages(app, cast)
    assert 'href="/projects/' + cast.project_id + '/test?range=24h"' in pages.get().text
    page = pages.get("?range=24h").text
    table = table_of(page)
    assert (len(table), table[-1]) == (24, ["23 Nov 2026, 09:00", "1,200", "34", "1", "21"])
    assert "<strong>21</strong> in the last 24 hours" in page
    part = pages.get("?range=24h", headers=HTMX).text
    assert part.lstrip().startswith("<section")
    assert table_of(part) == table


@pytest.mark.parametrize("asked", ["", "24H", "31d", "0", "24h ", "30d'--"])
def test_another_span_is_the_usual_one(app: Flask, cast: Cast, busy: None, asked: str) -> None:
    answer = side_pages(app, cast).get(f"?range={asked}")
    assert (answer.status_code, len(table_of(answer.text))) == (200, 30)


def test_a_side_where_nothing_happened_says_what_to_do(app: Flask, cast: Cast, busy: None) -> None:
    page = side_pages(app, cast, mode="live").get().text
    assert "No access check, purchase or consumption in the last 30 days" in page
    assert 'href="/docs/connect-stripe#first-purchase"' in page
    assert "chart-plot" not in page


def test_scripts_of_the_charts_are_loaded_here_alone(app: Flask, cast: Cast) -> None:
    pages = side_pages(app, cast)
    assert "uPlot" in pages.get().text
    assert "uPlot" not in pages.get("/products").text


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


DRAWN = """() => [...document.querySelectorAll(".chart-plot canvas")].map(canvas => {
    const {width, height} = canvas;
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const colours = new Set();
    for (let at = 0; at < pixels.length; at += 4)
        if (pixels[at + 3] === 255) colours.add([...pixels.slice(at, at + 3)].join());
    const place = canvas.closest(".chart-plot").getBoundingClientRect();
    const fits = place.right <= innerWidth && canvas.clientWidth <= Math.ceil(place.width);
    return {colours: [...colours], fits};
})"""


AS_DRAWN = """name => {
    const brush = document.createElement("canvas").getContext("2d");
    brush.fillStyle = getComputedStyle(document.querySelector(".activity")).getPropertyValue(name);
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data.slice(0, 3)].join();
}"""


@pytest.mark.browser
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_charts_are_drawn_in_the_colours_and_the_width_of_the_page(
    browser: Any, address: str, cast: Cast, busy: None
) -> None:
    sign_in(browser, address)
    browser.goto(f"{address}/projects/{cast.project_id}/test")
    # What draws them is fetched when they come near the window.
    browser.locator(".activity").scroll_into_view_if_needed()
    browser.locator(".chart-plot canvas").nth(2).wait_for()
    seen = {}
    for scheme, width in (("light", 1280), ("dark", 360)):
        browser.emulate_media(color_scheme=scheme)
        browser.set_viewport_size({"width": width, "height": 800})
        browser.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        checks, purchases, units = browser.evaluate(DRAWN)
        seen[scheme] = browser.evaluate(AS_DRAWN, "--chart-1")
        assert {seen[scheme], browser.evaluate(AS_DRAWN, "--chart-2")} <= set(checks["colours"])
        assert seen[scheme] in purchases["colours"]
        assert all(chart["fits"] for chart in (checks, purchases, units))
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert seen["light"] != seen["dark"]
    assert "2,468 in the last 30 days" in browser.get_by_role("img", name="Access checks").get_attribute(
        "aria-label"
    )
    browser.get_by_role("link", name="24 hours").click()
    browser.wait_for_url("**?range=24h")
    browser.locator(".chart-plot canvas").nth(2).wait_for()
    assert len(browser.evaluate(DRAWN)) == 3
    browser.locator(".chart-plot").first.scroll_into_view_if_needed()
    over = browser.locator(".chart-plot .u-over").first.bounding_box()
    browser.mouse.move(over["x"] + over["width"] - 4, over["y"] + 20)
    told = browser.locator(".chart-tip").first.inner_text()
    assert told.splitlines() == ["23 Nov 2026, 09:00 UTC", "Allowed: 1,200", "Denied: 34"]
