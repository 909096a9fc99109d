"""What the price of a subscription's item means when something is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session

from licenzy.catalog.models import Kind, Product, ProductTerms
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import FactSource
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.place import Placed, place_found
from licenzy.stripe_events.read import Origin, subscription_found
from tests.support.cast import Cast, make_connection, make_product, make_product_price, make_subject
from tests.support.clock import START
from tests.support.purchases import make_attempt, subscription_object

DAY = timedelta(days=1)
Items = Sequence[tuple[str, str | None]]


class Side:
    """A side with a catalog, and what a subscription of its customers means there."""

    def __init__(self, runtime: Runtime, cast: Cast) -> None:
        self.database: Database = runtime.database
        self.project_id = cast.project_id
        self.strangers = cast.stranger.project_id
        with self.database.write() as db:
            self.connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)

    def product(self, code: str, **columns: Any) -> Product:
        with self.database.write() as db:
            return make_product(db, **{"project_id": self.project_id, "product_code": code, **columns})

    def price(self, product: Product, **columns: Any) -> None:
        with self.database.write() as db:
            make_product_price(db, db.get_one(Product, (product.project_id, product.id)), **columns)

    def terms(self, product: Product, version: int, from_: datetime, grace_days: int) -> None:
        with self.database.write() as db:
            db.add(
                ProductTerms(
                    project_id=product.project_id,
                    product_id=product.id,
                    version=version,
                    from_=from_,
                    terms={"units": None, "duration_seconds": None, "features": [], "grace_days": grace_days},
                )
            )

    def meaning(self, items: Items, *, at: datetime = START, attempt: Any = None) -> list[dict[str, Any]]:
        """What each item, by price and Stripe product, is recorded as; nothing of it is kept."""
        with self.database.write() as db:
            placed = self._place(db, items, at, attempt)
            (reading,) = placed.readings
            meant: list[dict[str, Any]] = reading.data["items"]
            db.rollback()
        return meant

    def _place(self, db: Session, items: Items, at: datetime, attempt: Any) -> Placed:
        attempt = attempt or self.attempt_of_nobody()
        listed = [
            {"id": f"si_{number}", "price": {"id": price, "product": product}, "quantity": 1}
            for number, (price, product) in enumerate(items)
        ]
        told = subscription_object(attempt, items={"data": listed}, latest_invoice=None)
        origin = Origin(Scope.of(self.connection), self.connection.id, FactSource.SNAPSHOT, new_id("x"), at)
        return place_found(db, origin, subscription_found(told), now=at)

    def attempt_of_nobody(self) -> Any:
        sold = {"stripe_price_id": "price_of_nobody"}
        return SimpleNamespace(id="att_of_nobody", quantity=1, sold=sold)

    def attempt(self, product: Product) -> Any:
        with self.database.write() as db:
            subject = make_subject(db, project_id=self.project_id)
            return make_attempt(db, connection=self.connection, subject=subject, product=product)


@pytest.fixture
def side(runtime: Runtime, cast: Cast) -> Side:
    return Side(runtime, cast)


def codes(meant: list[dict[str, Any]]) -> list[str | None]:
    return [item["sold"] and item["sold"]["product_code"] for item in meant]


def test_retired_prices_and_archived_products_go_on_meaning_what_they_did(side: Side) -> None:
    product = side.product("PRO", stripe_price_id="price_new", label="month", archived_at=START)
    side.price(product, stripe_price_id="price_old", retired_at=START)
    side.price(product, stripe_price_id="gold21323", label="legacy")
    meant = side.meaning([("price_old", None), ("gold21323", None), ("price_new", None)])
    assert codes(meant) == ["PRO"] * 3
    assert [item["sold"]["stripe_price_id"] for item in meant] == ["price_old", "gold21323", "price_new"]
    assert {item["sold"]["version"] for item in meant} == {1}


def test_a_price_means_the_terms_in_force_at_that_time(side: Side) -> None:
    product = side.product("PRO", stripe_price_id="price_pro")
    side.terms(product, 2, START + DAY, grace_days=2)
    side.terms(product, 3, START + 2 * DAY, grace_days=3)
    instants = [START - 9 * DAY, START, START + DAY, START + 1.5 * DAY, START + 2 * DAY, START + 99 * DAY]
    meant = [side.meaning([("price_pro", None)], at=at)[0]["sold"] for at in instants]
    assert [each["version"] for each in meant] == [1, 1, 2, 2, 3, 3]
    assert [each["grace_days"] for each in meant] == [0, 0, 2, 2, 3, 3]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hours=st.lists(st.integers(1, 200), min_size=0, max_size=5, unique=True),
    at=st.integers(-10, 210),
)
def test_the_version_is_the_last_that_had_begun(side: Side, hours: list[int], at: int) -> None:
    name = new_id("x")[2:]
    product = side.product(f"P{name}", stripe_price_id=f"price_{name}")
    for version, hour in enumerate(sorted(hours), start=2):
        side.terms(product, version, START + timedelta(hours=hour), grace_days=version)
    meant = side.meaning([(f"price_{name}", None)], at=START + timedelta(hours=at))[0]["sold"]
    assert meant["version"] == 1 + sum(hour <= at for hour in hours)


def test_an_attempt_s_own_price_means_what_it_sold(side: Side) -> None:
    product = side.product("PRO", stripe_price_id="price_pro")
    side.price(product, stripe_price_id="price_year", label="year")
    attempt = side.attempt(product)
    side.terms(product, 2, START, grace_days=9)
    own, other = side.meaning([("price_pro", None), ("price_year", None)], at=START + DAY, attempt=attempt)
    assert (own["sold"]["version"], own["sold"]["grace_days"]) == (1, 0)
    assert (other["sold"]["version"], other["sold"]["grace_days"]) == (2, 9)


def test_an_unknown_price_of_a_known_stripe_product_names_the_product(side: Side) -> None:
    product = side.product("PRO", stripe_price_id="price_pro", stripe_product_id="prod_pro")
    side.price(product, stripe_price_id="price_old", stripe_product_id="prod_pro", retired_at=START)
    side.terms(product, 2, START, grace_days=2)
    unknown, known = side.meaning([("price_unknown", "prod_pro"), ("price_old", "prod_pro")])
    assert unknown["sold"] is None
    assert unknown["same_product"] == {
        "kind": "subscription",
        "product_code": "PRO",
        "product_id": product.id,
        "stripe_price_id": "price_unknown",
        "version": 2,
        "units": None,
        "duration_seconds": None,
        "features": [],
        "grace_days": 2,
    }
    assert "same_product" not in known
    assert known["sold"]["product_code"] == "PRO"


@pytest.mark.parametrize(
    ("second", "asked"),
    [
        ({"stripe_product_id": "prod_pro"}, "prod_pro"),
        ({"stripe_product_id": "prod_pro", "retired_at": START}, "prod_pro"),
        ({"stripe_product_id": "prod_pro", "archived_at": START}, "prod_pro"),
        ({}, "prod_unknown"),
        ({}, None),
    ],
)
def test_a_stripe_product_of_two_products_or_of_none_names_no_product(
    side: Side, second: dict[str, Any], asked: str | None
) -> None:
    side.product("PRO", stripe_price_id="price_pro", stripe_product_id="prod_pro")
    side.product("PLUS", stripe_price_id="price_plus", **second)
    (item,) = side.meaning([("price_unknown", asked)])
    assert (item["sold"], item["same_product"]) == (None, None)


def test_a_product_of_another_kind_is_no_subscription(side: Side) -> None:
    side.product("PACK", kind=Kind.USAGE_PACK, stripe_price_id="price_pack", stripe_product_id="prod_pack")
    pack, unknown = side.meaning([("price_pack", "prod_pack"), ("price_unknown", "prod_pack")])
    assert (pack["sold"], unknown["sold"], unknown["same_product"]) == (None, None, None)


def test_prices_of_strangers_mean_nothing_here(side: Side) -> None:
    side.product("THEIRS", project_id=side.strangers, stripe_price_id="price_x", stripe_product_id="prod_x")
    (item,) = side.meaning([("price_x", "prod_x")])
    assert (item["sold"], item["same_product"]) == (None, None)


def test_of_products_that_share_a_price_the_oldest_is_meant(side: Side) -> None:
    side.product("NEWER", stripe_price_id="price_shared", now=START + DAY)
    side.product("OLDEST", stripe_price_id="price_shared", now=START)
    assert codes(side.meaning([("price_shared", None)])) == ["OLDEST"]
