"""Every page in a real browser under axe: in both colours, on a wide screen and a narrow one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.archiving.actions import archive_project
from licenzy.portal.docs.renderer import guide_pages
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.workspace.audit import Actor
from licenzy.workspace.invitations import invite
from licenzy.workspace.links import links_for
from licenzy.workspace.models import Role, Workspace
from licenzy.workspace.password_links import issue_reset
from tests.portal.filled_side import fill_side
from tests.portal.set_up_side import side_pages
from tests.support.cast import PASSWORD, Cast, make_project
from tests.support.clock import START
from tests.support.codes import app_of, code_at
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
PEOPLE = (
    "/projects",
    "/projects/new",
    "/workspaces/new",
    "/account/notifications",
)
PUBLIC = (
    "/sign-in",
    "/password-reset",
    "/password-reset/no-token",
    "/invitations/no-token",
    "/checkout/done",
    "/checkout/canceled",
    "/nothing-here",
)


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


Looks = tuple[tuple[int, str], ...]
ALL_LOOKS: Looks = tuple(product((1280, 360), ("light", "dark")))


def complaints(page: Any, address: str, paths: list[str], looks: Looks = ALL_LOOKS) -> list[str]:
    """What axe says of these pages, and which of them are wider than the screen or have no title."""
    found = []
    for path in paths:
        page.goto(address + path)
        found += complaints_here(page, path, looks)
        if "·" not in page.title() and not path.startswith("/checkout/"):
            found.append(f"{path} has no title of its own: {page.title()}")
    return found


def complaints_here(page: Any, path: str, looks: Looks = ALL_LOOKS) -> list[str]:
    """What axe says of the page as it is now, and whether it is wider than the screen."""
    found = []
    page.evaluate(AXE)
    page.evaluate(UNFOLD)
    for width, scheme in looks:
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
    assert complaints(browser, address, ["/account", *paths]) == []


def test_pages_of_people_and_workspaces(browser: Any, address: str, cast: Cast, runtime: Runtime) -> None:
    with runtime.database.write() as db:
        archived = make_project(db, workspace_id=cast.owner.workspace_id, name="Archived")
        archive_project(db, actor=Actor(), project_id=archived, now=runtime.clock())
    sign_in(browser, address)
    workspace = f"/workspaces/{cast.owner.workspace_id}"
    log = f"{workspace}/audit"
    logs = [log, f"{log}?q=nothing", f"{log}?action=Projects"]
    paths = [
        *PEOPLE,
        *logs,
        f"{workspace}/settings",
        f"{workspace}/team",
        f"/projects/{archived}/live/settings",
    ]
    assert complaints(browser, address, paths) == []


def test_the_team_and_the_links_it_makes(browser: Any, address: str, cast: Cast, runtime: Runtime) -> None:
    links, now = links_for(runtime.settings, runtime.secret_box), runtime.clock()
    place: dict[str, Any] = {"workspace_id": cast.owner.workspace_id, "actor": Actor(cast.owner.user_id)}
    with runtime.database.write() as db:
        invited = invite(db, links, email="new@example.com", role=Role.ADMIN, now=now, **place)
        reset = issue_reset(db, links, user_id=cast.colleague.user_id, now=now, **place)
    paths = [urlsplit(link.url).path for link in (invited, reset)]
    assert complaints(browser, address, paths) == []
    app_of(runtime.database, runtime.secret_box, cast.colleague.user_id)
    sign_in(browser, address)
    team = f"/workspaces/{cast.owner.workspace_id}/team"
    people = [f"{team}/{person.user_id}" for person in (cast.owner, cast.colleague)]
    assert complaints(browser, address, [team, *people, paths[0]]) == []


def test_setting_a_second_factor_up_and_signing_in_with_it(
    browser: Any, address: str, cast: Cast, runtime: Runtime
) -> None:
    with runtime.database.write() as db:
        db.get_one(Workspace, cast.owner.workspace_id).second_factor_required_at = START
    sign_in(browser, address)
    found = complaints(browser, address, ["/projects", "/account/second-factor"])
    browser.get_by_role("button", name="Set up authenticator app").click()
    browser.get_by_text("1. Add the account to your app").wait_for()
    found += complaints_here(browser, "/account/authenticator")
    secret = browser.locator(".copy-line-text").inner_text().replace(" ", "")
    browser.get_by_role("textbox", name="Code").fill(code_at(secret, START))
    browser.get_by_role("button", name="Turn on").click()
    browser.get_by_text("Save them now").wait_for()
    found += complaints_here(browser, "/account/recovery-codes")
    found += complaints(browser, address, ["/account"])
    browser.context.clear_cookies()
    browser.goto(f"{address}/sign-in")
    browser.get_by_label("E-mail address").fill("owner@example.com")
    browser.get_by_label("Password").fill(PASSWORD)
    browser.get_by_role("button", name="Sign in").click()
    browser.get_by_label("Code").fill("000000")
    browser.get_by_role("button", name="Sign in").click()
    browser.get_by_text("This code is wrong").wait_for()
    assert [*found, *complaints_here(browser, "/sign-in/second-factor")] == []


@pytest.mark.parametrize("mode", list(Mode))
def test_a_side_where_something_has_happened(
    browser: Any, address: str, cast: Cast, runtime: Runtime, app: Flask, mode: Mode
) -> None:
    paths = filled_paths(fill_side(runtime, cast, mode=mode, free=True))
    pages = side_pages(app, cast, mode=mode)
    assert {pages.get(path.partition("?")[0]).status_code for path in paths} == {200}
    sign_in(browser, address)
    side = f"/projects/{cast.project_id}/{mode}"
    # Live mode has the pages of test mode in other colours.
    looks = ALL_LOOKS if mode is Mode.TEST else ((1280, "light"), (360, "dark"))
    paths = [*(side + path for path in paths), f"{side}/events/evt_none"]
    assert complaints(browser, address, paths, looks) == []
