"""Every page in a real browser under axe: in both colours, on a wide screen and a narrow one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.portal.docs.renderer import guide_pages
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.portal.filled_side import fill_side
from tests.portal.set_up_side import side_pages
from tests.support.cast import PASSWORD, Cast
from tests.support.servers import served

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

AXE = (Path(__file__).parents[1] / "support" / "vendor" / "axe-core" / "axe.min.js").read_text(
    encoding="utf-8"
)
UNFOLD = """document.querySelectorAll("main details").forEach(each =>
    { each.removeAttribute("name"); each.open = true; })"""
# Every rule of every severity, those that are off unless asked for by tag included (the size of targets).
LOOK = """axe.run(document, {
    resultTypes: ["violations"],
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}).then(found => found.violations.map(each =>
    `${each.id} (${each.impact}): ${each.nodes.map(node => node.target.join(" ")).join(", ")}`))"""
BROKEN = """[...document.querySelectorAll(".event-name")].flatMap(each => [...each.childNodes])
    .filter(part => {
        const range = document.createRange();
        range.selectNodeContents(part);
        return range.getClientRects().length > 1;
    }).map(part => part.textContent)"""
STEPS = ("connect", "webhook", "products", "api-key", "purchase", "go-live")
EMPTY = (
    "/alignment",
    "",
    "/lab",
    "/connection",
    "/products",
    "/products/new",
    "/api-keys",
    "/customers",
    "/events",
    "/webhooks",
    "/deliveries",
    "/settings",
    "/untracked",
    "/imports",
    "/grants/new",
    "/reconciliation",
)
PUBLIC = ("/sign-in", "/checkout/done", "/checkout/canceled", "/nothing-here")


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


def filled_paths(more: list[str]) -> list[str]:
    """The pages of a side on which something has happened, with those of single records."""
    # Prices are read from Stripe on these, which is refused here; they are looked at above.
    asks_stripe = {"/products/new"}
    paths = [*(path for path in EMPTY if path not in asks_stripe), *more]
    return [*paths, *(f"/setup/{step}" for step in STEPS)]


def sign_in(page: Any, address: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("E-mail address").fill("owner@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)


def complaints(page: Any, address: str, paths: list[str]) -> list[str]:
    """What axe says of these pages, and which of them are wider than the screen or have no title."""
    found = []
    for path in paths:
        page.goto(address + path)
        found += complaints_here(page, path)
        if "·" not in page.title() and not path.startswith("/checkout/"):
            found.append(f"{path} has no title of its own: {page.title()}")
    return found


def complaints_here(page: Any, path: str) -> list[str]:
    """What axe says of the page as it is now, and whether it is wider than the screen."""
    found = []
    page.evaluate(AXE)
    page.evaluate(UNFOLD)
    for width, scheme in product((1280, 360), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        # Colours that fade into each other would be measured on their way.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate("() => new Promise(requestAnimationFrame)")
        found += [f"{path} {scheme}: {each}" for each in page.evaluate(LOOK)]
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            found.append(f"{path} is wider than {width}")
        found += [f"{path} breaks {each} at {width}" for each in page.evaluate(BROKEN)]
    return found


def test_pages_without_signing_in(browser: Any, address: str, cast: Cast) -> None:
    guide = [f"/docs/{slug}" for slug, _title in guide_pages()]
    assert complaints(browser, address, [*PUBLIC, "/docs", *guide]) == []


def test_an_unclaimed_installation(browser: Any, address: str, runtime: Runtime) -> None:
    token = runtime.settings.derived_secret("claim")
    assert complaints(browser, address, ["/", f"/claim/{token}", "/claim/wrong"]) == []


def test_a_side_where_nothing_has_happened(browser: Any, address: str, cast: Cast) -> None:
    sign_in(browser, address)
    side = f"/projects/{cast.project_id}/test"
    paths = [side + path for path in (*EMPTY, *(f"/setup/{step}" for step in STEPS))]
    log = f"/workspaces/{cast.owner.workspace_id}/audit"
    people = ["/projects", "/projects/new", "/account", log, f"{log}?q=nothing", f"{log}?action=Projects"]
    assert complaints(browser, address, [*people, *paths]) == []


@pytest.mark.parametrize("mode", list(Mode))
def test_a_side_where_something_has_happened(
    browser: Any, address: str, cast: Cast, runtime: Runtime, app: Flask, mode: Mode
) -> None:
    paths = filled_paths(fill_side(runtime, cast, mode=mode, free=True))
    pages = side_pages(app, cast, mode=mode)
    assert {pages.get(path.partition("?")[0]).status_code for path in paths} == {200}
    sign_in(browser, address)
    side = f"/projects/{cast.project_id}/{mode}"
    assert complaints(browser, address, [*(side + path for path in paths), f"{side}/events/evt_none"]) == []
