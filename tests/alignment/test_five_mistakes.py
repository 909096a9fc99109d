"""The five mistakes that are made most: said on the page and in the answer, gone once the fix is followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.alignment.fixtures_alignment import ModePair
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import PASSWORD
from tests.support.ports import wait_until
from tests.support.servers import served

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Mistake:
    """One mistake in a project that is right otherwise."""

    code: str
    mode = "test"
    mends_at: str
    """The page that the answer's hint and the finding lead to."""

    def __init__(self, pair: ModePair) -> None:
        self.pair = pair
        self.side = pair.live if self.mode == "live" else pair.test

    def prepare(self) -> None:
        self.pair.test.align()
        if self.mode == "live":
            self.pair.live.align()

    def answer(self) -> Any:
        """What the caller is told: `error`, where it is a refusal, and the hint."""
        raise NotImplementedError

    def mend(self, pages: SidePages) -> None:
        """Follow the fix, on the pages that it names."""
        raise NotImplementedError


class LiveKeyWithTestPrice(Mistake):
    code, mode, mends_at = "price_mode_mismatch", "live", "/products/prd_"

    def answer(self) -> Any:
        self.pair.live.remap(stripe_price_id=self.pair.test.account.price(), livemode=False)
        return self.pair.live.checkout().json

    def mend(self, pages: SidePages) -> None:
        price = self.pair.live.account.price()
        finding = next(f for f in self.pair.doctor() if f["code"] == self.code)
        page = finding["page"].partition("/live")[2]
        answer = pages.send(page, page, {"price_id": price, "kind": "subscription"})
        assert answer.status_code == 303, answer.text


class BoughtFromTheOtherMode(Mistake):
    code, mode, mends_at = "product_of_other_mode_asked", "live", "/products"

    def answer(self) -> Any:
        self.pair.test.sell("GOLD")
        return self.pair.live.checkout("GOLD").json

    def mend(self, pages: SidePages) -> None:
        values = {"product_code": "GOLD", "kind": "subscription", "price_id": self.pair.live.account.price()}
        assert pages.send("/products/new", "/products/new", values).status_code == 303


class NoWebhookSecret(Mistake):
    code, mode, mends_at = "webhook_secret_missing", "live", "/connection"

    def prepare(self) -> None:
        self.side.connect()
        self.side.sell()
        self.side.make_key()

    def answer(self) -> Any:
        return self.side.checkout().json

    def mend(self, pages: SidePages) -> None:
        values = {"webhook_secret": "whsec_of_the_right_endpoint_0123456789"}
        assert pages.send("/connection", "/connection/webhook-secret", values).status_code == 303


class PriceIdForProductCode(Mistake):
    code, mends_at = "price_id_sent", "/products"

    def answer(self) -> Any:
        return self.side.checkout(self.side.account.stripe.prices.list({"limit": 1}).data[0].id).json

    def mend(self, pages: SidePages) -> None:
        assert self.side.checkout("PRO", key="k2").status_code == 201


class CheckoutCalledDirectly(Mistake):
    code, mends_at = "untracked_checkout", "/untracked"

    def answer(self) -> Any:
        price = self.side.account.stripe.prices.list({"limit": 1}).data[0].id
        asked = {
            "mode": "subscription",
            "line_items": [{"price": price, "quantity": 1}],
            "success_url": "https://shop.example.com/done",
        }
        session = self.side.account.stripe.checkout.sessions.create(asked)
        assert httpx.post(session.url, data={"action": "pay"}).status_code == 303
        self.side.forward(type="checkout.session.completed")
        return self.side.check(explain=True).json["explain"]

    def mend(self, pages: SidePages) -> None:
        listed = pages.get("/untracked").text
        one = "/untracked/" + listed.partition(f"{pages.base}/untracked/")[2].partition('"')[0]
        sent = pages.send(one, "/adoption", {"subject_ref": "user_1", "note": "It was theirs."})
        assert sent.status_code == 303, sent.text


MISTAKES = [
    LiveKeyWithTestPrice,
    BoughtFromTheOtherMode,
    NoWebhookSecret,
    PriceIdForProductCode,
    CheckoutCalledDirectly,
]


@pytest.mark.parametrize("kind", MISTAKES)
def test_page_and_answer_tell_cause_and_fix_and_following_it_ends_the_finding(
    home: ModePair, kind: type[Mistake]
) -> None:
    mistake = kind(home)
    mistake.prepare()
    pages = side_pages(home.app, home.cast, mode=mistake.mode)
    marker = f'data-finding="{mistake.code}"'
    answer = mistake.answer()
    assert f"/projects/{home.project_id}/{mistake.mode}{mistake.mends_at}" in answer["hint"]
    wait_until(lambda: marker in pages.get("/alignment").text, seconds=5, what="the finding is shown")
    found = next(finding for finding in home.doctor() if finding["code"] == mistake.code)
    shown = pages.get("/alignment").text
    for sentence in (found["cause"], found["fix"]):
        assert sentence.replace("'", "&#39;") in shown
    mistake.mend(pages)
    assert marker not in pages.get("/alignment").text
    assert mistake.code not in home.codes()[mistake.mode]


@dataclass
class Opened:
    page: Any
    base: str


@pytest.fixture
def opened(home: ModePair, browser: Any) -> Iterator[Opened]:
    """A browser signed in as the owner of the project, over HTTP."""
    with served(home.app, port=home.runtime.settings.port) as url:
        browser.goto(f"{url}/sign-in")
        browser.fill("#email", home.cast.owner.email)
        browser.fill("#password", PASSWORD)
        browser.click("form button[type=submit]")
        browser.wait_for_url("**/projects**")
        yield Opened(browser, f"{url}/projects/{home.project_id}")


@pytest.mark.browser
@pytest.mark.parametrize("kind", MISTAKES)
def test_in_a_browser_the_finding_leads_to_the_page_that_mends_it(
    home: ModePair, opened: Opened, kind: type[Mistake]
) -> None:
    mistake = kind(home)
    mistake.prepare()
    mistake.answer()
    wait_until(lambda: mistake.code in home.codes()[mistake.mode], seconds=5, what="it is found")
    opened.page.goto(f"{opened.base}/{mistake.mode}/alignment")
    card = opened.page.locator(f'[data-finding="{mistake.code}"]')
    found = next(finding for finding in home.doctor() if finding["code"] == mistake.code)
    for sentence in (found["cause"], found["fix"]):
        assert sentence in card.inner_text()
    card.get_by_role("link", name="Fix it").click()
    opened.page.wait_for_url(f"**/{mistake.mode}{mistake.mends_at}**")
    mistake.mend(side_pages(home.app, home.cast, mode=mistake.mode))
    opened.page.goto(f"{opened.base}/{mistake.mode}/alignment")
    assert card.count() == 0
