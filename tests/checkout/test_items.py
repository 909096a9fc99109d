"""Several products in one checkout: what Stripe is asked for, what is kept, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, Product, TrialCard
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from tests.checkout.conftest import Shop
from tests.checkout.test_price_labels import another

Sell = Callable[..., Product]


def buy(shop: Shop, *items: dict[str, Any], key: str = "k1", **body: Any) -> Any:
    return shop.checkout(key, product_code=None, items=list(items), **body)


def item(code: str, **more: Any) -> dict[str, Any]:
    return {"product_code": code, **more}


def attempts(shop: Shop) -> list[CheckoutAttempt]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(CheckoutAttempt)))


def test_each_item_is_a_line_and_kept_as_sold(shop: Shop, sell: Sell) -> None:
    pro = sell("PRO", Kind.SUBSCRIPTION)
    seats = sell("SEATS", Kind.SUBSCRIPTION, adjustable_quantity=True)
    extra = another(shop, seats, "extra", interval="month")
    with shop.runtime.database.read() as db:
        assert db.get_one(Product, (seats.project_id, seats.id)).prices
    shop.stripe.v1.prices.retrieve(extra)
    answer = buy(shop, item("PRO"), item("SEATS", quantity=4, price_label="default"))
    body = answer.get_json()
    assert answer.status_code == 201, body
    assert body["product_code"] is None
    assert body["items"] == [
        {"product_code": "PRO", "quantity": 1, "price_label": "default"},
        {"product_code": "SEATS", "quantity": 4, "price_label": "default"},
    ]
    session = shop.stripe.v1.checkout.sessions.retrieve(
        body["stripe_checkout_session_id"], {"expand": ["line_items"]}
    )
    assert session.line_items is not None
    lines = [(line.price.id, line.quantity) for line in session.line_items.data if line.price is not None]
    prices = [each.prices[0].stripe_price_id for each in (pro, seats)]
    assert lines == list(zip(prices, (1, 4), strict=True))
    (attempt,) = attempts(shop)
    assert attempt.items_sold is not None
    assert [each["sold"]["stripe_price_id"] for each in attempt.items_sold] == prices
    assert [each["sold"]["version"] for each in attempt.items_sold] == [1, 1]
    assert attempt.bought == [("PRO", 1), ("SEATS", 4)]
    assert attempt.status is AttemptStatus.OPEN
    assert buy(shop, item("PRO"), item("SEATS", quantity=4, price_label="default")).data == answer.data


def test_one_time_products_are_one_payment(shop: Shop, sell: Sell) -> None:
    sell("PASS", Kind.TIME_PASS)
    sell("CREDITS", Kind.USAGE_PACK)
    body = buy(shop, item("PASS"), item("CREDITS", quantity=2)).get_json()
    session = shop.stripe.v1.checkout.sessions.retrieve(body["stripe_checkout_session_id"])
    assert (session.mode, session.amount_total) == ("payment", 3600)


def test_one_item_is_answered_as_items_too(shop: Shop, sell: Sell) -> None:
    sell("PRO", Kind.SUBSCRIPTION)
    body = buy(shop, item("PRO")).get_json()
    assert (body["product_code"], len(body["items"])) == (None, 1)
    assert attempts(shop)[0].bought == [("PRO", 1)]


def test_a_call_without_items_is_answered_as_before(shop: Shop, sell: Sell) -> None:
    sell("PRO", Kind.SUBSCRIPTION)
    body = shop.checkout(product_code="PRO").get_json()
    assert list(body) == [
        "checkout_url", "attempt_id", "stripe_checkout_session_id", "subject_ref", "product_code", "mode",
        "expires_at",
    ]  # fmt: skip
    assert body["product_code"] == "PRO"


DIFFERENT: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"kind": Kind.TIME_PASS}, "kind"),
    ({}, {"currency": "eur"}, "currency"),
    ({}, {"interval": "year"}, "interval"),
    ({}, {"interval_count": 3}, "interval"),
    ({}, {"trial_days": 7}, "trial"),
    ({"trial_days": 14}, {"trial_days": 7}, "trial"),
    ({"trial_days": 7}, {"trial_days": 7, "trial_once": True}, "trial"),
    ({"trial_days": 7}, {"trial_days": 7, "trial_card": TrialCard.IF_REQUIRED}, "card settings"),
    ({}, {"allow_promotion_codes": True}, "promotion codes"),
    ({}, {"automatic_tax": True}, "automatic tax"),
]


@pytest.mark.parametrize(("first", "second", "what"), DIFFERENT)
def test_items_must_agree(
    shop: Shop, sell: Sell, first: dict[str, Any], second: dict[str, Any], what: str
) -> None:
    sell("A", Kind.SUBSCRIPTION, **first)
    sell("B", **{"kind": Kind.SUBSCRIPTION, **second})
    refused = buy(shop, item("A"), item("B"))
    body = refused.get_json()
    assert (refused.status_code, body["error"]) == (400, "invalid_request"), body
    assert body["fields"]["items"].startswith("A and B differ in their " + what)
    assert attempts(shop) == []


def test_a_price_is_sold_once(shop: Shop, sell: Sell) -> None:
    product = sell("PRO", Kind.SUBSCRIPTION)
    another(shop, product, "more", interval="month")
    refused = buy(shop, item("PRO"), item("PRO", quantity=2))
    assert refused.status_code == 400
    assert "twice" in refused.get_json()["fields"]["items"]
    refused = buy(shop, item("PRO"), item("PRO", price_label="default"))
    assert "twice" in refused.get_json()["fields"]["items"]


def test_a_refusal_names_the_item(shop: Shop, sell: Sell) -> None:
    sell("PRO", Kind.SUBSCRIPTION)
    refused = buy(shop, item("PRO"), item("NONE"))
    body = refused.get_json()
    assert (refused.status_code, body["error"], set(body["fields"])) == (
        404,
        "product_not_found",
        {"items[1]"},
    )
    refused = buy(shop, item("PRO"), item("PRO", price_label="year"))
    body = refused.get_json()
    assert (body["error"], body["price_labels"]) == ("price_label_not_found", ["default"])


WRONG: list[tuple[dict[str, Any], str, set[str]]] = [
    ({"items": []}, "invalid_request", {"items"}),
    ({"items": [item("PRO")] * 11}, "invalid_request", {"items"}),
    ({"items": "PRO"}, "invalid_request", {"items"}),
    ({"items": None}, "invalid_request", {"product_code"}),
    ({"items": [item("PRO", quantity=0)]}, "invalid_request", {"items[0].quantity"}),
    ({"items": [item("PRO"), {"quantity": 1}]}, "invalid_request", {"items[1].product_code"}),
    ({"items": [item("PRO", price_label="A B")]}, "invalid_request", {"items[0].price_label"}),
    ({"items": [item("PRO", price_id="price_1")]}, "unknown_field", {"items[0].price_id"}),
    ({"items": ["PRO"]}, "invalid_request", {"items[0]"}),
    ({"items": [item("price_1")]}, "stripe_price_id_not_allowed", {"items[0].product_code"}),
    ({"items": [item("PRO")], "product_code": "PRO"}, "invalid_request", {"product_code"}),
    ({"items": [item("PRO")], "quantity": 2}, "invalid_request", {"quantity"}),
    ({"items": [item("PRO")], "colour": "red"}, "unknown_field", {"colour"}),
]


@pytest.mark.parametrize(("body", "code", "fields"), WRONG)
def test_wrong_items_are_refused_where_they_are(
    shop: Shop, sell: Sell, body: dict[str, Any], code: str, fields: set[str]
) -> None:
    sell("PRO", Kind.SUBSCRIPTION)
    refused = shop.checkout(**{"product_code": None, **body})
    told = refused.get_json()
    assert (refused.status_code, told["error"], set(told["fields"])) == (400, code, fields), told
    assert "is invalid" not in told["fields"].values(), "each says what the field must be"


def test_a_trial_that_was_had_of_one_item_leaves_none(shop: Shop, sell: Sell) -> None:
    from tests.checkout.test_trials import had_trial, status_at_stripe

    for code in ("A", "B"):
        sell(code, Kind.SUBSCRIPTION, trial_days=14, trial_once=True)
    first = buy(shop, item("A"), item("B"), key="k1")
    assert first.get_json()["trial_days"] == 14
    second = shop.checkout("k2", product_code="B")
    assert (second.get_json()["trial_days"], status_at_stripe(shop, first)) == (14, "expired")
    had_trial(shop, "B")
    assert buy(shop, item("A"), item("B"), key="k3").get_json()["trial_days"] == 0
    assert shop.checkout("k4", product_code="A").get_json()["trial_days"] == 14
