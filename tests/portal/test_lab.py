"""The pages of the lifecycle lab: who finds them where, and what they do without scripts and with htmx."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
from flask import Flask
from sqlmodel import select

from licenzy.connections.models import Connection, Provider
from licenzy.factory import create_app
from licenzy.lab.models import LabStep
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.conftest import LiveServer
from tests.portal.set_up_side import HTMX, SidePages, side_pages
from tests.support.cast import Cast, make_connection
from tests.support.playground import Playground, make_playground
from tests.support.ports import wait_until
from tests.support.visits import forms_of, location

pytestmark = pytest.mark.slow


class TestWithoutASandboxConnection:
    """The pages explain, and the navigation does not offer the lab."""

    def test_nothing_is_connected(self, app: Flask, cast: Cast) -> None:
        pages = side_pages(app, cast)
        page = pages.get("/lab")
        assert page.status_code == 200
        assert "The lab needs the sandbox" in page.text
        assert f"{pages.base}/setup/connect" in page.text
        assert f'href="{pages.base}/lab"' not in pages.get("/customers").text

    def test_stripe_itself_is_connected(self, app: Flask, cast: Cast, runtime: Runtime) -> None:
        with runtime.database.write() as db:
            make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        pages = side_pages(app, cast)
        page = pages.get("/lab").text
        assert "connected to Stripe itself" in page
        assert "/projects/new" in page
        assert f'href="{pages.base}/lab"' not in pages.get("/customers").text

    def test_the_live_side_has_none(self, app: Flask, cast: Cast) -> None:
        page = side_pages(app, cast, mode="live").get("/lab")
        assert "customers and money are real" in page.text
        assert f"/projects/{cast.project_id}/test/lab" in page.text

    def test_a_sandbox_that_is_switched_off_is_said(self, settings: Settings, cast: Cast) -> None:
        app = create_app(replace(settings, sandbox=False))
        page = side_pages(app, cast).get("/lab").text
        app.extensions["licenzy"].database.close()
        assert "LICENZY_SANDBOX=1" in page

    def test_nothing_can_be_started(self, app: Flask, cast: Cast, runtime: Runtime) -> None:
        with runtime.database.write() as db:
            make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        pages = side_pages(app, cast)
        token = pages.form("/settings", "/settings/name").fields["csrf_token"]
        sent = {"csrf_token": token, "subject_ref": "u", "product_code": "PRO", "submission_id": "x"}
        assert pages.client.post(f"{pages.base}/lab/purchases", data=sent).status_code == 422


@pytest.fixture
def playground(live_server: LiveServer, cast: Cast) -> Playground:
    return make_playground(live_server.runtime, cast)


@pytest.fixture
def visit(live_server: LiveServer, cast: Cast, playground: Playground) -> Callable[..., SidePages]:
    """The lab's side as somebody of the cast sees it."""

    def visiting(email: str | None = None) -> SidePages:
        return side_pages(live_server.app, cast, email=email)

    return visiting


Visit = Callable[..., SidePages]


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """That of the served application where there is one, on real time."""
    if "live_server" in request.fixturenames:
        server: LiveServer = request.getfixturevalue("live_server")
        return server.runtime
    found: Runtime = request.getfixturevalue("app").extensions["licenzy"]
    return found


def press(pages: SidePages, attempt: str, action: str, *, delivery: str = "in_order", htmx: bool = False):  # type: ignore[no-untyped-def]
    values = {"action": action, "delivery": delivery}
    return pages.send(f"/lab/{attempt}", f"/lab/{attempt}/steps", values, htmx=htmx)


def settled(playground: Playground, attempt: str) -> None:
    wait_until(lambda: not playground.bench(attempt).moving, seconds=25, what="the step is over")


def test_a_purchase_is_started_paid_and_refunded_without_scripts(
    visit: Visit, playground: Playground
) -> None:
    pages = visit()
    assert f'href="{pages.base}/lab"' in pages.get("/customers").text
    sent = {"subject_ref": "user_9", "product_code": "PRO_MONTHLY"}
    started = pages.send("/lab", "/lab/purchases", sent)
    assert started.status_code == 303
    attempt = location(started).rpartition("/")[2]
    page = pages.get(f"/lab/{attempt}").text
    assert "No access" in page
    assert "user_9" in page
    assert "Buys PRO_MONTHLY" in page
    assert "Nothing has been paid." in page

    assert location(press(pages, attempt, "pay_session")) == f"{pages.base}/lab/{attempt}"
    settled(playground, attempt)
    page = pages.get(f"/lab/{attempt}").text
    assert "Has access" in page
    assert "Paid by card" in page
    assert "checkout.<wbr>session.<wbr>completed" in page

    press(pages, attempt, "refund")
    settled(playground, attempt)
    page = pages.get(f"/lab/{attempt}").text
    assert page.index("Refunded in full") < page.index("Paid by card"), "newest first"
    assert "No access" in page
    assert "All of it was refunded." in page
    listed = pages.get("/lab").text
    assert "user_9" in listed
    assert "PRO_MONTHLY · just now" in listed


def test_buttons_that_cannot_be_pressed_are_grey_and_say_why(visit: Visit, playground: Playground) -> None:
    attempt = playground.bought()
    page = visit().get(f"/lab/{attempt}").text
    pressable = page.split('value="renew_in_time"')[1].split(">")[0]
    assert "disabled" not in pressable
    grey = page.split('value="recover"')[1]
    assert "disabled" in grey.split(">")[0]
    assert "Nothing is owed" in grey.split("</button>")[0]


def test_what_is_refused_is_told_in_place(visit: Visit, playground: Playground) -> None:
    attempt, pages = playground.bought(), visit()
    for htmx in (False, True):
        answer = press(pages, attempt, "recover", htmx=htmx)
        assert answer.status_code == 422
        assert "Nothing is owed" in answer.text
        assert answer.text.lstrip().startswith("<!doctype") is not htmx
    assert press(pages, attempt, "steal").status_code == 404


def test_the_newest_step_is_polled_until_it_is_over(visit: Visit, playground: Playground) -> None:
    attempt, pages = playground.checkout(), visit()
    answer = press(pages, attempt, "pay_session", htmx=True)
    assert answer.status_code == 200
    assert 'id="lab-bench"' in answer.text
    assert 'hx-trigger="every 700ms"' in answer.text
    live = f"/lab/{attempt}/live"
    wait_until(lambda: not playground.bench(attempt).waiting, seconds=15, what="the events arrive")
    arrived = pages.get(f"{live}?buttons=off", headers=HTMX)
    assert 'hx-swap-oob="true"' in arrived.text, "the buttons come along"
    settled(playground, attempt)
    over = pages.get(f"{live}?buttons=on", headers=HTMX)
    assert over.status_code == 286
    assert "hx-trigger" not in over.text.split('id="lab-actions"')[0]
    assert "Has access" in over.text
    plainly = pages.get(live)
    assert plainly.status_code == 200
    assert plainly.text.lstrip().startswith("<!doctype")


def test_lost_webhooks_are_said_and_healed(visit: Visit, playground: Playground) -> None:
    attempt, pages = playground.bought(), visit()
    press(pages, attempt, "cancel", delivery="never")
    page = pages.get(f"/lab/{attempt}").text
    assert "Stripe knows more than Licenzy" in page
    assert "webhooks lost" in page
    assert "Licenzy did not receive the webhooks" in page
    assert "Has access" in page
    press(pages, attempt, "reconcile")
    settled(playground, attempt)
    page = pages.get(f"/lab/{attempt}").text
    assert "Stripe knows more than Licenzy" not in page
    assert "No access" in page
    assert "lost, then found" in page


def test_a_viewer_looks_on(visit: Visit, cast: Cast, playground: Playground) -> None:
    attempt, pages = playground.bought(), visit(cast.colleague.email)
    assert "Starting a purchase needs the role admin" in pages.get("/lab").text
    page = pages.get(f"/lab/{attempt}")
    assert "Running a step needs the role admin" in page.text
    buttons = page.text.split('name="action"')[1:]
    assert buttons
    assert all("disabled" in button.split(">")[0] for button in buttons)
    token = next(form.fields["csrf_token"] for form in forms_of(page) if "csrf_token" in form.fields)
    for path in (f"/lab/{attempt}/steps", "/lab/purchases"):
        sent = {"csrf_token": token, "action": "cancel", "delivery": "in_order"}
        assert pages.client.post(pages.base + path, data=sent).status_code == 403
    with playground.runtime.database.read() as db:
        assert [step.action for step in db.exec(select(LabStep))] == ["pay_session"]


def test_others_find_nothing(visit: Visit, cast: Cast, playground: Playground) -> None:
    attempt = playground.bought()
    stranger = visit(cast.stranger.email)
    assert stranger.get(f"/lab/{attempt}").status_code == 404
    elsewhere = f"/projects/{cast.stranger.project_id}/test/lab/{attempt}"
    assert stranger.client.get(elsewhere).status_code == 404
    owner = visit()
    other = attempt[:-1] + ("1" if attempt.endswith("0") else "0")
    for odd in ("att_1", "x", other, "%00"):
        assert owner.get(f"/lab/{odd}").status_code in {400, 404}
        assert owner.get(f"/lab/{odd}/live").status_code in {400, 404}
    assert owner.client.get(f"/projects/{cast.project_id}/live/lab/{attempt}").status_code == 404


def test_a_connection_that_moved_on_leaves_no_lab(visit: Visit, playground: Playground) -> None:
    attempt, pages = playground.bought(), visit()
    with playground.runtime.database.write() as db:
        db.exec(select(Connection)).one().provider = Provider.STRIPE
    assert pages.get(f"/lab/{attempt}").status_code == 404
    assert pages.get("/lab").status_code == 200


def test_the_ways_into_the_lab(visit: Visit, playground: Playground) -> None:
    attempt, pages = playground.bought(), visit()
    wait_until(
        lambda: "It works from end to end" in pages.get(f"/setup/purchase?attempt={attempt}").text,
        seconds=15,
        what="the purchase is proven",
    )
    assert f"/lab/{attempt}" in pages.get(f"/setup/purchase?attempt={attempt}").text
    assert f'{pages.base}/lab"' in pages.get("/setup/go-live").text
    assert pages.client.get("/docs/lifecycle-lab").status_code == 200


def test_a_sandbox_that_is_away_is_said(
    visit: Visit, playground: Playground, live_server: LiveServer
) -> None:
    attempt, pages = playground.bought(), visit()
    elsewhere = replace(live_server.settings, port=1)
    live_server.app.extensions["licenzy"] = replace(playground.runtime, settings=elsewhere)
    page = pages.get(f"/lab/{attempt}")
    live_server.app.extensions["licenzy"] = playground.runtime
    assert page.status_code == 200
    assert "not running" in page.text
    assert "Paid by card" in page.text


def test_only_who_may_act_is_led_to_the_console(visit: Visit, playground: Playground, cast: Cast) -> None:
    attempt = playground.bought()
    owner, viewer = visit(), visit(cast.colleague.email)
    for address in (f"/lab/{attempt}", "/connection"):
        assert "/lab/console" in owner.get(address).text
        seen = viewer.get(address).text
        assert "/lab/console" not in seen
        assert "/console/acct_" not in seen + owner.get(address).text
    assert viewer.get("/lab/console").status_code == 403
    led = owner.get("/lab/console")
    assert led.status_code == 303
    with httpx.Client(follow_redirects=True) as browser:
        assert "Clock" in browser.get(led.headers["Location"]).text
    bare = led.headers["Location"].partition("/enter?")[0]
    assert "Open the console from Licenzy" in httpx.get(bare).text


def test_a_button_says_how_far_the_clock_moves_and_who_else_renews(
    visit: Visit, playground: Playground
) -> None:
    # A day older, so that it renews within 31 days in a month of as many, too.
    playground.let("advance_day", playground.bought(subject_ref="user_other"))
    attempt = playground.bought()
    page = visit().get(f"/lab/{attempt}").text
    assert "Moves the account’s clock 1 hour." in page
    assert "Moves the account’s clock 31 days. 1 other subscription renews too." in page
