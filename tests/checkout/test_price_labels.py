"""Which of a product's prices a checkout sells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.checkout.models import CheckoutAttempt
from tests.checkout.conftest import Shop
from tests.support.cast import make_product_price
from tests.support.clock import START

Sell = Callable[..., Product]


def another(shop: Shop, product: Product, label: str, **columns: Any) -> str:
    """Another price of a product that exists at the sandbox; gives its id."""
    params: Any = {
        "unit_amount": 9900,
        "currency": "usd",
        "product_data": {"name": label},
        "recurring": {"interval": "year"},
    }
    price = shop.stripe.v1.prices.create(params)
    with shop.runtime.database.write() as db:
        row = db.get_one(Product, (product.project_id, product.id))
        make_product_price(db, row, stripe_price_id=price.id, label=label, **{"interval": "year", **columns})
    return str(price.id)


def sold_at(shop: Shop, answer: Any) -> tuple[str, str | None]:
    """The price of the session at Stripe, and the label that the attempt has."""
    body = answer.get_json()
    assert answer.status_code == 201, body
    session = shop.stripe.v1.checkout.sessions.retrieve(
        body["stripe_checkout_session_id"], {"expand": ["line_items"]}
    )
    assert session.line_items is not None
    with shop.runtime.database.read() as db:
        attempt = db.exec(select(CheckoutAttempt).where(CheckoutAttempt.id == body["attempt_id"])).one()
    price = session.line_items.data[0].price
    assert price is not None
    assert attempt.sold["stripe_price_id"] == price.id
    return price.id, attempt.price_label


def test_a_checkout_names_a_price_by_its_label(shop: Shop, sell: Sell) -> None:
    product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    monthly, yearly = product.prices[0].stripe_price_id, another(shop, product, "year")
    assert sold_at(shop, shop.checkout("k1")) == (monthly, "default")
    assert sold_at(shop, shop.checkout("k2", price_label="year")) == (yearly, "year")
    assert sold_at(shop, shop.checkout("k3", price_label="default")) == (monthly, "default")


def test_the_only_price_needs_no_label(shop: Shop, sell: Sell) -> None:
    product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION, label="month")
    another(shop, product, "year", retired_at=START)
    assert sold_at(shop, shop.checkout()) == (product.prices[0].stripe_price_id, "month")


def test_several_without_a_default_need_one(shop: Shop, sell: Sell) -> None:
    product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION, label="month")
    another(shop, product, "year")
    another(shop, product, "old", retired_at=START)
    refused = shop.checkout()
    body = refused.get_json()
    assert (refused.status_code, body["error"]) == (400, "price_label_needed")
    assert body["price_labels"] == ["month", "year"]
    for label in ("old", "week"):
        refused = shop.checkout(price_label=label)
        body = refused.get_json()
        assert (refused.status_code, body["error"]) == (404, "price_label_not_found"), label
        assert body["price_labels"] == ["month", "year"]
        assert f"/products/{product.id}" in body["hint"]
    assert shop.sessions() == []
    assert shop.checkout(price_label="year").status_code == 201, "a refusal frees the key"


def test_a_product_without_a_selling_price_says_so(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION, retired_at=START)
    body = shop.checkout().get_json()
    assert (body["error"], body["price_labels"]) == ("price_label_not_found", [])
    assert "no price that is sold at" in body["message"]


def test_only_the_named_price_is_checked(shop: Shop, sell: Sell) -> None:
    product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    another(shop, product, "year", active=False)
    assert shop.checkout("k1").status_code == 201
    refused = shop.checkout("k2", price_label="year")
    assert (refused.status_code, refused.get_json()["error"]) == (409, "price_inactive")


def test_what_is_no_label_is_refused_at_its_field(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    wrong: tuple[Any, ...] = ("", "Year", "a b", "x" * 33, "year\n", 1, ["year"])
    for label in wrong:
        refused = shop.checkout(price_label=label)
        assert refused.status_code == 400, label
        assert set(refused.get_json()["fields"]) == {"price_label"}, label
    refused = shop.checkout(stripe_price_id="price_1")
    assert refused.get_json()["error"] == "unknown_field"
