"""Subscriptions that change to a price without a product, and what mapping it does for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import Session, select

from licenzy.catalog.models import Kind, PriceBackfill, Product
from licenzy.catalog.prices import add_price, retire_price
from licenzy.catalog.queries import product
from licenzy.catalog.rules import ProductRefused
from licenzy.entitlements.models import Entitlement, Fact, FactSource, Purchase
from licenzy.errors import ProductNotFound
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.setup.fact_collector import project_facts
from licenzy.stripe_events.mapped_prices import remove_price, search_next
from licenzy.stripe_events.models import SettlingRead, UnmappedItem
from licenzy.workspace.audit import Actor
from tests.checkout.conftest import Shop
from tests.reconciliation.test_reconcile import act, buy, settle, walk
from tests.support.cast import Cast, make_backfill, make_connection, make_product
from tests.support.clock import START, StandingClock

Sell = Callable[..., Product]
NOBODY = Actor()


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    clock.now = datetime.now(UTC)


class Customer:
    """A customer whose subscription is changed in Stripe's dashboard."""

    def __init__(self, shop: Shop, sell: Sell, clock: StandingClock) -> None:
        self.shop, self.clock = shop, clock
        self.product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
        buy(shop, "k")
        walk(shop, clock)
        self.first_price = self.product.prices[0].stripe_price_id

    @property
    def scope(self) -> Scope:
        return Scope.of(self.shop.connection)

    @property
    def subscription(self) -> str:
        return str(self.entitlements()[0].stripe_subscription_id)

    def entitlements(self) -> list[Entitlement]:
        with self.shop.runtime.database.read() as db:
            return list(db.exec(select(Entitlement)))

    def price(self) -> str:
        """A price of a Stripe product that nothing here knows."""
        params: Any = {
            "unit_amount": 5000,
            "currency": "usd",
            "product_data": {"name": "Gold"},
            "recurring": {"interval": "month"},
        }
        return str(self.shop.stripe.v1.prices.create(params).id)

    def change_to(self, price: str) -> None:
        at_stripe = self.shop.stripe.v1.subscriptions
        item = at_stripe.retrieve(self.subscription)["items"]["data"][0].id
        at_stripe.update(self.subscription, {"items": [{"id": item, "price": price}]})
        self.clock.advance(seconds=30)
        walk(self.shop, self.clock)
        settle(self.shop, self.clock)

    def unmapped(self) -> list[tuple[str, int]]:
        """What the finding is made of: prices, and how many subscriptions hold them."""
        parts = self.shop.runtime
        with parts.database.read() as db:
            facts = project_facts(
                db,
                parts.secret_box,
                project_id=self.shop.project_id,
                base_url=parts.settings.base_url,
                now=self.clock(),
            )
        return [(each.stripe_price_id, each.subscriptions) for each in facts.test.traffic.unmapped_prices]

    def map(self, price: str, label: str) -> None:
        parts = self.shop.runtime
        add_price(
            parts.database,
            parts.gateway,
            parts.secret_box,
            self.scope,
            product_id=self.product.id,
            price_id=price,
            label=label,
            actor=NOBODY,
            now=self.clock(),
        )

    def search(self) -> None:
        while self.shop.runtime.database.retrying(lambda db: search_next(db, now=self.clock())):
            pass

    def remove(self, price: str) -> None:
        with self.shop.runtime.database.write() as db:
            found = product(db, self.scope, product_id=self.product.id).prices
            price_id = next(each.id for each in found if each.stripe_price_id == price)
            remove_price(
                db,
                self.scope,
                product_id=self.product.id,
                price_id=price_id,
                actor=NOBODY,
                now=self.clock(),
            )


@pytest.fixture
def customer(shop: Shop, sell: Sell, clock: StandingClock) -> Customer:
    return Customer(shop, sell, clock)


def test_an_unmapped_price_warns_until_it_is_mapped_and_read_again(customer: Customer) -> None:
    assert customer.unmapped() == []
    (before,) = customer.entitlements()
    assert (before.stripe_price_id, before.terms_version) == (customer.first_price, 1)
    gold = customer.price()
    customer.change_to(gold)
    assert customer.unmapped() == [(gold, 1)]
    customer.map(gold, "gold")
    assert customer.unmapped() == [(gold, 1)], "mapping alone gives nobody access back"
    customer.search()
    assert customer.unmapped() == [(gold, 1)]
    assert settle(customer.shop, customer.clock) == 1
    assert customer.unmapped() == []
    after = next(each for each in customer.entitlements() if each.stripe_price_id == gold)
    assert (after.product_code, after.terms_version) == ("PRO_MONTHLY", 1)
    assert after.state.value == "active"


def test_what_ends_or_changes_back_is_no_longer_listed(customer: Customer) -> None:
    gold = customer.price()
    customer.change_to(gold)
    assert customer.unmapped() == [(gold, 1)]
    customer.change_to(customer.first_price)
    assert customer.unmapped() == []
    customer.change_to(gold)
    assert customer.unmapped() == [(gold, 1)]
    act(customer.shop, action="cancel", subscription=customer.subscription)
    customer.clock.advance(seconds=30)
    walk(customer.shop, customer.clock)
    assert customer.unmapped() == []


def test_a_price_that_is_held_cannot_be_removed(customer: Customer) -> None:
    other = customer.price()
    customer.map(other, "gold")
    with pytest.raises(ProductRefused, match="1 subscription holds this price"):
        customer.remove(customer.first_price)
    customer.change_to(other)
    customer.remove(customer.first_price)
    with pytest.raises(ProductRefused, match="1 subscription holds this price"):
        customer.remove(other)
    act(customer.shop, action="cancel", subscription=customer.subscription)
    customer.clock.advance(seconds=30)
    walk(customer.shop, customer.clock)
    customer.remove(other)
    with customer.shop.runtime.database.read() as db:
        assert product(db, customer.scope, product_id=customer.product.id).prices == []
        assert db.exec(select(PriceBackfill)).all() == []


def test_a_retired_price_goes_on_for_who_holds_it(customer: Customer) -> None:
    with customer.shop.runtime.database.write() as db:
        retire_price(
            db,
            customer.scope,
            product_id=customer.product.id,
            price_id=customer.product.prices[0].id,
            actor=NOBODY,
            now=customer.clock(),
        )
    customer.change_to(customer.first_price)
    (held,) = customer.entitlements()
    assert (held.state.value, customer.unmapped()) == ("active", [])


def test_a_price_that_an_earlier_version_did_not_keep_counts_by_its_product(
    runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    with runtime.database.write() as db:
        db.exec(select(Entitlement)).one().stripe_price_id = None
    with pytest.raises(ProductRefused, match="1 subscription holds"):
        customer.remove(customer.first_price)


def test_prices_of_strangers_are_not_removed(customer: Customer, cast: Cast) -> None:
    theirs = Scope(cast.stranger.project_id, customer.scope.mode)
    with customer.shop.runtime.database.write() as db, pytest.raises(ProductNotFound):
        remove_price(
            db,
            theirs,
            product_id=customer.product.id,
            price_id=customer.product.prices[0].id,
            actor=NOBODY,
            now=customer.clock(),
        )


# --- the search -------------------------------------------------------------------------------------


def fact(db: Session, scope: Scope, key: str, *prices: str) -> None:
    """A purchase with one fact of its subscription, which holds these prices."""
    db.add(Purchase(project_id=scope.project_id, mode=scope.mode, key=key, created_at=START))
    db.flush()
    db.add(
        Fact(
            id=f"fct_{key}",
            project_id=scope.project_id,
            mode=scope.mode,
            source=FactSource.EVENT,
            source_id=f"evt_{key}",
            kind="subscription" if key.startswith("sub_") else "session",
            purchase_key=key,
            object_id=key,
            occurred_at=START,
            recorded_at=START,
            data={"items": [{"price": price} for price in prices]},
        )
    )


def test_the_search_goes_on_in_batches_and_finds_who_names_the_price(runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        scope = Scope.of(connection)
        wanted = make_product(db, project_id=cast.project_id, stripe_price_id="price_a_1").prices[0]
        for number in range(7):
            fact(db, scope, f"sub_{number}", "price_a_1" if number % 3 == 0 else "price_a_12")
        fact(db, scope, "sub_8", "price_xa1", "priceXaX1")
        fact(db, scope, "cs_test_1", "price_a_1")
        fact(db, scope.other, "sub_other", "price_a_1")
        fact(db, Scope(cast.stranger.project_id, scope.mode), "sub_theirs", "price_a_1")
        make_backfill(db, wanted)
    progress = []
    while runtime.database.retrying(lambda db: search_next(db, now=START, batch=3)):
        with runtime.database.read() as db:
            row = db.exec(select(PriceBackfill)).one()
        progress.append((row.searched, row.total, row.found, row.finished_at is not None))
    assert progress == [(3, 8, 1, False), (6, 8, 2, False), (8, 8, 3, True)]
    with runtime.database.read() as db:
        asked = db.exec(select(SettlingRead.object_id).order_by(SettlingRead.object_id)).all()
        assert db.exec(select(UnmappedItem)).all() == []
    assert asked == ["sub_0", "sub_3", "sub_6"]
