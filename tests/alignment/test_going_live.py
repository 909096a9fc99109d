"""Going live, against a Stripe that has both modes: the checklist, copying, and the first live purchase."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from licenzy.alignment.modes import Mode
from licenzy.catalog.copying import copy_to_live
from licenzy.catalog.included import Every, IncludedUnits, Rollover
from licenzy.catalog.models import Kind, Product
from licenzy.catalog.queries import products
from licenzy.projects.scope import Scope
from licenzy.setup.stripe_probe import probe_side
from tests.alignment.fixtures_alignment import NOBODY, ModePair, Side
from tests.portal.set_up_side import HTMX, SidePages, side_pages
from tests.portal.test_accessibility import complaints, sign_in
from tests.support.cast import make_product
from tests.support.servers import served

pytestmark = pytest.mark.slow

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def keyed_price(
    side: Side, lookup_key: str | None, amount: int = 1200, interval: str | None = "month"
) -> str:
    asked: dict[str, Any] = {"unit_amount": amount, "currency": "usd", "product_data": {"name": "Pro"}}
    if interval:
        asked["recurring"] = {"interval": interval}
    if lookup_key:
        asked["lookup_key"] = lookup_key
    return str(side.account.stripe.prices.create(asked).id)


def sold(pair: ModePair, mode: Mode) -> dict[str, Product]:
    with pair.runtime.database.read() as db:
        return {each.product_code: each for each in products(db, Scope(pair.project_id, mode))}


def copy(pair: ModePair, prices: dict[str, str | dict[str, str]]) -> Any:
    parts = pair.runtime
    return copy_to_live(
        parts.database,
        parts.gateway,
        parts.secret_box,
        project_id=pair.project_id,
        price_ids={
            code: {"default": each} if isinstance(each, str) else each for code, each in prices.items()
        },
        actor=NOBODY,
        now=pair.clock(),
    )


def test_everything_but_the_price_is_copied(pair: ModePair) -> None:
    pair.test.connect()
    pair.live.connect()
    pair.test.sell("PACK", Kind.USAGE_PACK, units=500, duration_seconds=86_400, amount=900)
    price = keyed_price(pair.live, None, 900, None)
    copied = copy(pair, {"PACK": price})
    assert (copied.created, dict(copied.refused)) == (("PACK",), {})
    test, live = sold(pair, Mode.TEST)["PACK"], sold(pair, Mode.LIVE)["PACK"]
    assert live.prices[0].stripe_price_id == price
    assert live.prices[0].livemode
    for name in ("kind", "units", "duration_seconds", "features", "grace_days", "usage_low_units"):
        assert getattr(live, name) == getattr(test, name), name


def test_included_units_are_copied(pair: ModePair) -> None:
    pair.test.connect()
    pair.live.connect()
    pair.test.sell("PRO", included=(IncludedUnits("images", 1000, Every.MONTH, Rollover(500)),))
    copied = copy(pair, {"PRO": keyed_price(pair.live, None)})
    assert copied.created == ("PRO",)
    assert sold(pair, Mode.LIVE)["PRO"].included == sold(pair, Mode.TEST)["PRO"].included != []


def test_each_product_is_copied_or_refused_by_itself(pair: ModePair) -> None:
    pair.test.connect()
    pair.live.connect()
    test_price = pair.test.sell("PRO")
    pair.test.sell("DAY", Kind.TIME_PASS, duration_seconds=86_400)
    pair.test.sell("FINE")
    good = keyed_price(pair.live, None)
    copied = copy(pair, {"PRO": test_price, "DAY": good, "FINE": good, "GONE": good})
    assert copied.created == ("FINE",)
    assert "test mode price" in copied.refused["PRO", "default"]
    assert "paid once" in copied.refused["DAY", "default"]
    assert "no longer exists" in copied.refused["GONE", "default"]
    again = copy(pair, {"FINE": good})
    assert "has this code" in again.refused["FINE", "default"]
    assert list(sold(pair, Mode.LIVE)) == ["FINE"]


@sqlite_only
def test_a_free_product_is_copied_as_it_is(home: ModePair) -> None:
    home.test.connect()
    home.live.connect()
    with home.runtime.database.write() as db:
        terms: dict[str, Any] = {"limits": {"projects": 1}, "features": ["read"], "is_default": True}
        make_product(
            db, project_id=home.project_id, product_code="FREE", kind=Kind.FREE, grants_access=True, **terms
        )
    pages = live_pages(home)
    free = sold(home, Mode.TEST)["FREE"]
    assert "no price" not in pages.get(STEP).text
    none = pages.send(STEP, "/go-live/copy", {free.id: ""}, htmx=True)
    assert none.status_code == 422
    assert pages.send(STEP, "/go-live/copy", {free.id: "y"}).status_code == 303
    live = sold(home, Mode.LIVE)["FREE"]
    for name in ("kind", "limits", "features", "is_default", "grants_access"):
        assert getattr(live, name) == getattr(free, name), name
    assert live.prices == []
    assert "the same" in pages.get(STEP).text


def live_pages(home: ModePair, email: str | None = None) -> SidePages:
    return side_pages(home.app, home.cast, mode="live", email=email)


STEP = "/setup/go-live"


def states(page: str) -> dict[str, str]:
    """The state of each line of the checklist, as shown."""
    return {code: state for state, code in re.findall(r'class="check is-(\w+)" data-item="([\w-]+)"', page)}


@sqlite_only
def test_the_catalog_is_copied_from_the_page_with_prices_matched_by_lookup_key(home: ModePair) -> None:
    home.test.connect()
    home.live.connect()
    keyed = keyed_price(home.test, "pro_monthly")
    home.test.sell("PRO", price_id=keyed)
    home.test.sell("OTHER")
    matched = keyed_price(home.live, "pro_monthly")
    picked = keyed_price(home.live, None, 700)
    pages = live_pages(home)
    test = sold(home, Mode.TEST)
    page = pages.get(STEP).text
    assert re.findall(r'<option value="(\w+)" selected', page) == [matched]
    assert "Matched by the lookup key <code>pro_monthly</code>" in page
    assert page.count("test only") == 2
    copied = pages.send(
        STEP, "/go-live/copy", {test["PRO"].prices[0].id: matched, test["OTHER"].prices[0].id: picked}
    )
    assert copied.status_code == 303
    assert {code: each.prices[0].stripe_price_id for code, each in sold(home, Mode.LIVE).items()} == {
        "PRO": matched,
        "OTHER": picked,
    }
    page = pages.get(STEP).text
    assert "Copied to live: " in page
    assert "copy-form" not in page
    assert "the same" in page
    assert "price: $12.00 in test mode, $7.00 in live mode" in page


@sqlite_only
def test_a_second_click_on_copy_says_that_it_is_done(home: ModePair) -> None:
    home.test.connect()
    home.live.connect()
    home.test.sell("PRO")
    home.test.sell("LATER")
    ids = {code: each.prices[0].id for code, each in sold(home, Mode.TEST).items()}
    pages, price = live_pages(home), keyed_price(home.live, None)
    form = pages.form(STEP, "/go-live/copy")
    values = {**form.fields, ids["PRO"]: price, ids["LATER"]: ""}
    assert pages.client.post(form.action, data=values).status_code == 303
    pages.get(STEP)
    again = pages.client.post(form.action, data=values)
    assert again.status_code == 303
    assert "Live has these products already." in pages.get(STEP).text
    assert list(sold(home, Mode.LIVE)) == ["PRO"]


@sqlite_only
def test_copy_pressed_by_two_in_one_moment_makes_each_product_once(home: ModePair) -> None:
    home.test.connect()
    home.live.connect()
    home.test.sell("PRO")
    price, product = keyed_price(home.live, None), sold(home, Mode.TEST)["PRO"].prices[0].id
    both = [live_pages(home) for _ in range(2)]
    forms = [pages.form(STEP, "/go-live/copy") for pages in both]

    def press(number: int) -> int:
        form = forms[number]
        answer = both[number].client.post(form.action, data={**form.fields, product: price})
        return answer.status_code

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(press, range(2))) == {303}
    assert list(sold(home, Mode.LIVE)) == ["PRO"]


@sqlite_only
def test_what_is_refused_is_said_at_its_product_and_the_rest_is_copied(home: ModePair) -> None:
    home.test.connect()
    home.live.connect()
    home.test.sell("PRO")
    test_price = home.test.sell("OTHER")
    good = keyed_price(home.live, None)
    pages, ids = live_pages(home), {code: each.prices[0].id for code, each in sold(home, Mode.TEST).items()}
    none = pages.send(STEP, "/go-live/copy", {ids["PRO"]: "", ids["OTHER"]: ""}, htmx=True)
    assert none.status_code == 422
    assert "Pick a live price" in none.text
    partly = pages.send(STEP, "/go-live/copy", {ids["PRO"]: good, ids["OTHER"]: test_price}, htmx=True)
    assert partly.status_code == 422
    assert "<html" not in partly.text
    assert "test mode price" in partly.text
    assert list(sold(home, Mode.LIVE)) == ["PRO"]


@sqlite_only
def test_the_checklist_turns_green_line_by_line_and_drifts_when_stripe_says_otherwise(home: ModePair) -> None:
    pages = live_pages(home)
    empty = states(pages.get(STEP).text)
    assert set(empty.values()) <= {"needs_action", "waiting"}
    assert len(empty) == 10
    home.test.align()
    home.live.align()
    pages.send(STEP, "/go-live/check", {})
    ready = states(pages.get(STEP).text)
    for code in ("live_connect", "live_webhook", "live_products", "live_api-key", "same_catalog", "watched"):
        assert ready[code] == "done", (code, ready)
    assert ready["live_purchase"] == "needs_action"
    assert ready["https"] == "needs_action"
    price = sold(home, Mode.LIVE)["PRO"].prices[0].stripe_price_id
    home.live.account.stripe.prices.update(price, {"active": False})
    probe_side(
        home.runtime.database,
        home.runtime.gateway,
        home.runtime.secret_box,
        home.live.scope,
        clock=home.clock,
    )  # What the worker does every hour.
    page = pages.get(STEP).text
    assert states(page)["live_products"] == "drifted"
    assert "Stripe price archived (PRO" in page
    # The same list from the test side, where nothing of live can be changed.
    seen = side_pages(home.app, home.cast, mode="test").get(STEP).text
    assert states(seen) == states(page)
    assert "/go-live/copy" not in seen
    assert "/go-live/check" not in seen


@sqlite_only
def test_only_who_may_change_the_catalog_copies_and_only_in_live(home: ModePair) -> None:
    home.test.connect()
    home.live.connect()
    home.test.sell("PRO")
    viewer = live_pages(home, home.cast.colleague.email)
    page = viewer.get(STEP)
    assert page.status_code == 200
    assert "/go-live/copy" not in page.text
    assert "/go-live/check" not in page.text
    owner = live_pages(home)
    form = owner.form(STEP, "/go-live/copy")
    token = {"csrf_token": form.fields["csrf_token"]}
    for action in ("copy", "check"):
        in_test = owner.client.post(
            f"/projects/{home.project_id}/test/setup/go-live/{action}", data=token, headers=HTMX
        )
        assert in_test.status_code == 404, action
        foreign = owner.client.post(
            f"/projects/{home.cast.stranger.project_id}/live/setup/go-live/{action}", data=token
        )
        assert foreign.status_code == 404, action
    assert sold(home, Mode.LIVE) == {}


@sqlite_only
def test_a_live_purchase_is_followed_from_checkout_to_access(home: ModePair) -> None:
    home.test.align()
    home.live.align()
    pages = live_pages(home)
    assert "Follow the purchase" not in pages.get(STEP).text
    bought = home.live.checkout().get_json()
    waiting = pages.get(STEP).text
    assert waiting.count("step-done") == 1
    assert "Follow the purchase" in waiting
    httpx.post(bought["checkout_url"], data={"action": "pay"}, trust_env=False)
    home.live.forward()
    page = pages.get(STEP).text
    assert page.count("step-done") == 5
    assert states(page)["live_purchase"] == "done"
    assert "Follow the purchase" not in page


@pytest.mark.browser
@sqlite_only
@pytest.mark.parametrize("mode", ["test", "live"])
def test_the_step_is_good_to_look_at_in_both_modes(home: ModePair, browser: Any, mode: str) -> None:
    """Under axe, wide and narrow, light and dark, with something to copy."""
    home.test.align()
    home.live.connect()
    keyed_price(home.live, None)
    with served(home.app, port=home.runtime.settings.port) as url:
        sign_in(browser, url)
        assert complaints(browser, url, [f"/projects/{home.project_id}/{mode}{STEP}"]) == []


def test_all_prices_that_a_product_is_sold_at_are_copied_with_their_labels(pair: ModePair) -> None:
    pair.test.connect()
    pair.live.connect()
    pair.test.sell("PRO")
    monthly, yearly = keyed_price(pair.live, None), keyed_price(pair.live, None, 9900, "year")
    wrong = keyed_price(pair.live, None, 500, None)
    copied = copy(pair, {"PRO": {"default": monthly, "year": yearly, "once": wrong}})
    assert copied.created == ("PRO",)
    assert list(copied.refused) == [("PRO", "once")]
    live = sold(pair, Mode.LIVE)["PRO"]
    assert {price.label: price.stripe_price_id for price in live.selling_prices} == {
        "default": monthly,
        "year": yearly,
    }
