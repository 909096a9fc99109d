"""Pages with the longest names there are: nothing is wider than the screen, and no word is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from licenzy.alignment.modes import Mode
from licenzy.connections.models import Connection, Provider
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.portal.filled_side import LONGEST, fill_side
from tests.portal.test_accessibility import UNFOLD, filled_paths, sign_in
from tests.support.cast import Cast
from tests.support.servers import served

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

SCREENS = ((1280, 800), (1366, 650), (360, 740))

# Words that are cut off where nothing shows the whole: no title, nothing to scroll or to open.
CUT = """() => [...document.querySelectorAll("body *")].filter(each => {
    const style = getComputedStyle(each), box = each.getBoundingClientRect();
    if (!box.width || !box.height || style.clipPath !== "none" || style.visibility === "hidden") return false;
    if (each.closest("[title], svg, input, .chart-plot, .visually-hidden")) return false;
    const cut = style.overflowX === "hidden" || style.overflowX === "clip";
    return cut && each.scrollWidth > each.clientWidth + 1 && style.display !== "inline";
}).map(each => `cut off: ${each.tagName.toLowerCase()}.${each.className}`)"""

# Words that stick out of the box they stand in, to the right of the page or into the next column.
OUT = """() => {
    const found = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode, parent = node.parentElement;
        if (!node.textContent.trim() || !parent.checkVisibility({visibilityProperty: true})) continue;
        if (parent.closest(".visually-hidden, svg, script, option, .chart-plot, [title]")) continue;
        if (clipped(parent)) continue;
        const scroller = scrolls(parent);
        const holder = parent.closest("td, th, li, dd, dt, p, h1, h2, h3, label, a, button, .panel");
        if (!holder || getComputedStyle(holder).display === "inline" || holder.closest("[title]")) continue;
        if (scroller && holder.contains(scroller)) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        const box = holder.getBoundingClientRect();
        for (const line of range.getClientRects()) {
            if (line.width > 1 && line.right > box.right + 1) {
                const words = node.textContent.trim().slice(0, 40);
                found.add(`out of ${holder.tagName.toLowerCase()}.${holder.className}: ${words}`);
            }
        }
    }
    return [...found];
    function clipped(element) {
        for (let each = element; each; each = each.parentElement) {
            if (getComputedStyle(each).clipPath !== "none") return true;
        }
        return false;
    }
    function scrolls(element) {
        for (let each = element; each; each = each.parentElement) {
            const may = ["auto", "scroll"].includes(getComputedStyle(each).overflowX);
            if (may && each.scrollWidth > each.clientWidth) return each;
        }
        return null;
    }
}"""
WIDE = "document.scrollingElement.scrollWidth > window.innerWidth"
# A table that is scrolled sideways hides its last columns: on these screens none has to be.
SIDEWAYS = """() => [...document.querySelectorAll(".table-wrap")]
    .filter(each => each.scrollWidth > each.clientWidth + 1).map(() => "a table is wider than the page")"""
FOOT = """() => {
    const foot = document.querySelector(".sidebar-foot summary");
    if (!foot.checkVisibility()) return [];
    foot.scrollIntoView({block: "nearest"});
    const box = foot.getBoundingClientRect();
    return box.bottom <= innerHeight && box.top >= 0 ? [] : ["the account menu is out of sight"];
}"""


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


@pytest.mark.parametrize("mode", list(Mode))
def test_the_longest_names_fit_every_screen(
    browser: Any, address: str, cast: Cast, runtime: Runtime, mode: Mode
) -> None:
    paths = filled_paths(fill_side(runtime, cast, mode=mode, names=LONGEST, free=True))
    assert misfits(browser, address, f"/projects/{cast.project_id}/{mode}", paths) == []


def test_the_longest_names_fit_the_lab(browser: Any, address: str, cast: Cast, runtime: Runtime) -> None:
    paths = fill_side(runtime, cast, names=LONGEST)
    with runtime.database.write() as db:
        db.exec(update(Connection).values(provider=Provider.SANDBOX))
    attempts = [path.partition("?attempt=")[2] for path in paths if "?attempt=" in path]
    in_lab = ["/lab", *(f"/lab/{attempt}" for attempt in attempts)]
    assert misfits(browser, address, f"/projects/{cast.project_id}/test", in_lab) == []


def misfits(browser: Any, address: str, side: str, paths: list[str]) -> list[str]:
    """What does not fit its place on these pages of a side, on any screen."""
    sign_in(browser, address)
    found = []
    for path in ["/projects", "/account", *(side + each for each in paths)]:
        browser.goto(address + path)
        # As it is opened, and then with all that can be opened: a table is laid out differently for each.
        for unfold in ("", UNFOLD):
            browser.evaluate(unfold)
            for width, height in SCREENS:
                browser.set_viewport_size({"width": width, "height": height})
                wrong = ["wider than the screen"] if browser.evaluate(WIDE) else []
                for script in (CUT, OUT, SIDEWAYS, *([FOOT] if "/projects/" in path else [])):
                    wrong += browser.evaluate(script)
                found += [f"{path.removeprefix(side)} at {width}: {each}" for each in wrong]
    return found
