"""The pages in a real Chromium: they fit, they work without scripts, and paying leads back to the shop."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from tests.stripe_sandbox.shop import Quiet, Shop

WIDTHS = [360, 768, 1280]


@pytest.fixture
def storefront() -> Iterator[str]:
    """The merchant's own site, of another origin than the sandbox."""

    def answer(environ: Any, start_response: Any) -> Any:
        page = f"<!doctype html><title>Shop</title><h1>Back at {Request(environ).full_path}</h1>"
        return Response(page, mimetype="text/html")(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.browser
def test_paying_leads_back_to_a_shop_of_another_origin(shop: Shop, browser: Any, storefront: str) -> None:
    session = shop.session(
        shop.price(),
        success_url=storefront + "/thanks?s={CHECKOUT_SESSION_ID}",
        cancel_url=f"{storefront}/cart",
    )
    browser.goto(session.url)
    browser.get_by_label("E-mail").fill("ada@example.com")
    browser.get_by_role("button", name="Simulate a declined card").click()
    expect(browser.get_by_role("alert")).to_have_text(re.compile(r"^\s*Your card was declined"))
    browser.get_by_role("button", name="Go back without paying").click()
    expect(browser.locator("h1")).to_have_text("Back at /cart?")
    browser.goto(session.url)
    browser.get_by_role("button", name="Pay $19.00").click()
    expect(browser.locator("h1")).to_have_text(f"Back at /thanks?s={session.id}")
    assert browser.context.cookies() == []
    browser.goto(f"{shop.url}/pay/{session.id}")
    browser.get_by_role("link", name="Return to the shop").click()
    expect(browser.locator("h1")).to_have_text(f"Back at /thanks?s={session.id}")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_every_width(shop: Shop, browser: Any, scheme: str) -> None:
    subscription = shop.subscribed(shop.price(99999999))
    shop.answer(shop.session(shop.price(interval=None)), "pay_later")
    portal = shop.stripe.billing_portal.sessions.create({"customer": str(subscription.customer)})
    event = shop.stripe.events.list().data[0].id
    pay = str(shop.session(shop.price(129900), client_reference_id="x" * 200).url)
    browser.emulate_media(color_scheme=scheme)
    for address in (pay, portal.url, shop.console_link(), f"{shop.console_url}/events/{event}"):
        for width in WIDTHS:
            browser.set_viewport_size({"width": width, "height": 800})
            browser.goto(address)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, (address, width)
            assert "No real money moves here" in browser.locator(".strip").inner_text()


@pytest.mark.browser
def test_the_console_works_by_keyboard_and_mouse(shop: Shop, browser: Any) -> None:
    shop.subscribed()
    browser.goto(shop.console_link())
    browser.get_by_role("button", name="Renew subscription", exact=True).click()
    expect(browser.get_by_role("status")).to_have_text("Renew subscription: 9 events created.")
    browser.get_by_role("button", name="+ 1 day").press("Enter")
    expect(browser.get_by_role("status")).to_contain_text("The clock ")
