"""The limits that the lab shows after each step are those that the API lists at that moment."""

from __future__ import annotations

import json
from typing import Any

import pytest

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.checkout.preparation import RequestedItem
from licenzy.entitlements.decision import DefaultProduct
from licenzy.entitlements.limits import TotalLimit
from licenzy.entitlements.models import OVERRIDE, Entitlement
from licenzy.lab.queries import Bench
from licenzy.lab.rules import Holdings, differences, holdings
from licenzy.lab.scenarios import CHANGE_PLAN
from tests.conftest import LiveServer
from tests.lab.test_rules import entitlement_row
from tests.portal.set_up_side import side_pages
from tests.support.cast import Cast, make_key, make_product
from tests.support.clock import START
from tests.support.playground import Playground, make_playground
from tests.support.sizes import LARGE_ON_SQLITE

FREE = DefaultProduct("FREE", True, (), {"projects": 1})


def row(code: str, limits: dict[str, int | None], **columns: Any) -> Entitlement:
    values = {"source": "stripe", "quantity": 1, "adds": False, "limits": limits}
    return entitlement_row(id=f"ent_{code}", product_code=code, **values | columns)


def test_what_adds_is_counted_with_its_quantity_and_an_override_decides_alone() -> None:
    plan, extra = row("PLAN", {"projects": 5}), row("EXTRA", {"projects": 5}, adds=True, quantity=2)
    then = holdings([extra, plan], START, default=FREE)
    assert (then.limits, then.default_product) == ({"projects": 15}, None)
    assert [(each.limits, each.adds, each.quantity) for each in then.owned] == [
        ({"projects": 5}, False, 1),
        ({"projects": 5}, True, 2),
    ]
    override = row("", {"projects": 7}, source=OVERRIDE)
    then = holdings([override, extra, plan], START, default=FREE)
    assert (then.limits, len(then.owned)) == ({"projects": 7}, 2)


def test_the_default_product_counts_while_nothing_hides_it() -> None:
    ended = row("PLAN", {"projects": 5}, ends_at=START, ends_as="canceled")
    then = holdings([ended], START, default=FREE)
    assert (then.limits, then.default_product, then.allowed) == ({"projects": 1}, "FREE", True)
    assert then.owned[0].limits == {}


def test_differences_tell_what_became_of_each_limit() -> None:
    before = holdings([row("PLAN", {"projects": 5, "seats": 2, "sites": 3})], START)
    after = holdings([row("PLAN", {"projects": 10, "seats": None, "members": 0, "sites": 3})], START)
    found = [(each.what, each.about, each.before, each.after) for each in differences(before, after)]
    assert found == [
        ("limit", "members", None, TotalLimit(0)),
        ("limit", "projects", TotalLimit(5), TotalLimit(10)),
        ("limit", "seats", TotalLimit(2), TotalLimit(None)),
    ]


def test_limits_survive_the_database_and_steps_without_them_are_read() -> None:
    then = holdings([row("PLAN", {"projects": 5, "seats": None}, adds=True, quantity=3)], START, default=FREE)
    stored = json.loads(json.dumps(then.as_json()))
    assert Holdings.from_json(stored) == then
    for name in ("limits", "default_product"):
        del stored[name]
    for name in ("limits", "adds", "quantity"):
        del stored["owned"][0][name]
    earlier = Holdings.from_json(stored)
    assert (earlier.limits, earlier.owned[0].limits) == (None, {})
    assert differences(earlier, then) == [], "what was not kept did not change"


@pytest.fixture
def playground(live_server: LiveServer, cast: Cast) -> Playground:
    return make_playground(live_server.runtime, cast)


def sell(playground: Playground, code: str, *, amount: int = 1000, **columns: Any) -> str:
    """A monthly product with limits; gives its price."""
    asked: Any = {"unit_amount": amount, "currency": "usd", "product_data": {"name": code.title()}}
    asked["recurring"] = {"interval": "month"}
    price = playground.stripe.v1.prices.create(asked)
    with playground.runtime.database.write() as db:
        make_product(
            db, project_id=playground.project_id, product_code=code, stripe_price_id=price.id, **columns
        )
    return price.id


def offer_free(playground: Playground) -> None:
    with playground.runtime.database.write() as db:
        make_product(
            db,
            project_id=playground.project_id,
            product_code="FREE",
            kind=Kind.FREE,
            is_default=True,
            limits={"projects": 1},
        )


@pytest.mark.slow
@LARGE_ON_SQLITE
def test_each_step_shows_the_limits_that_the_api_lists(
    live_server: LiveServer, playground: Playground, cast: Cast
) -> None:
    offer_free(playground)
    sell(playground, "SMALL", limits={"projects": 5})
    large = sell(playground, "LARGE", amount=5000, limits={"projects": 20, "members": None})
    sell(playground, "EXTRA", limits={"projects": 3}, adds=True)
    with playground.runtime.database.write() as db:
        _key, token = make_key(db, project_id=cast.project_id, mode=Mode.TEST)
    client = live_server.app.test_client()

    def limits(bench: Bench) -> tuple[Any, Any]:
        asked = client.get(
            "/v1/customer/access/user_lab", headers={"Authorization": f"Bearer {token}"}
        ).get_json()
        found = bench.current.limits, bench.current.default_product
        assert found == (asked["limits"], asked["default_product"])
        return found

    def changed(bench: Bench) -> dict[str, tuple[Any, Any]]:
        return {
            each.about: tuple(limit and limit.value for limit in (each.before, each.after))
            for each in bench.steps[0].differences
            if each.what == "limit"
        }

    attempt = playground.checkout("SMALL")
    assert limits(playground.bench(attempt)) == ({"projects": 1}, "FREE")
    paid = playground.let("pay_session", attempt)
    assert limits(paid) == ({"projects": 5}, None)
    assert changed(paid) == {"projects": (1, 5)}

    extra = playground.checkout_of(RequestedItem("EXTRA", quantity=2))
    playground.let("pay_session", extra)
    assert limits(playground.bench(attempt)) == ({"projects": 11}, None)

    switched = playground.let(CHANGE_PLAN, attempt, price=large)
    assert limits(switched) == ({"members": None, "projects": 26}, None)
    assert changed(switched) == {"members": (None, None), "projects": (11, 26)}
    gone = playground.let("cancel", attempt)
    assert limits(gone) == ({"projects": 6}, None)

    pages = side_pages(live_server.app, cast)
    page = " ".join(pages.get(f"/lab/{attempt}").text.split())
    assert "Limits after this step: members unlimited, projects 26." in page
    assert "<strong>Limits</strong> <span>projects 6</span>" in page
    assert "projects +3 × 2" in page
    playground.let("cancel", extra)
    assert limits(playground.bench(attempt)) == ({"projects": 1}, "FREE")
    assert "with the default product FREE" in pages.get(f"/lab/{attempt}").text
