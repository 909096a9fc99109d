from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog import actions, prices, queries, rules
from licenzy.catalog.models import Kind
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.errors import ProductNotFound, StripeNotConnected
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.catalog.conftest import Catalog
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock


def test_a_product_takes_what_stripe_says_of_its_price(catalog: Catalog) -> None:
    product = catalog.create(replace(catalog.subscription(), features=("export",), grace_days=3))
    (price,) = product.prices
    assert (price.unit_amount, price.currency, price.interval) == (1200, "usd", "month")
    assert (price.label, price.selling, price.livemode) == ("default", True, False)
    assert price.checked_at == price.added_at == catalog.clock()
    with catalog.runtime.database.read() as db:
        found = queries.product_by_code(db, catalog.side, product_code="PRO_MONTHLY")
        assert found is not None
        assert rules.as_sold(found, price_id=price.stripe_price_id) == {
            "kind": "subscription",
            "product_code": "PRO_MONTHLY",
            "product_id": product.id,
            "stripe_price_id": catalog.prices["pro_monthly"],
            "version": 1,
            "units": None,
            "duration_seconds": None,
            "features": ["export"],
            "grace_days": 3,
        }


def test_the_three_kinds_are_made(catalog: Catalog) -> None:
    catalog.create(catalog.subscription())
    catalog.create(Draft("DAY", Kind.TIME_PASS, catalog.prices["day_pass"], duration_seconds=86_400))
    catalog.create(Draft("PACK", Kind.USAGE_PACK, catalog.prices["credits_1000"], units=1000))
    with catalog.runtime.database.read() as db:
        assert [p.product_code for p in queries.products(db, catalog.side)] == [
            "DAY",
            "PACK",
            "PRO_MONTHLY",
        ]


def test_a_price_whose_shape_does_not_fit_is_refused(catalog: Catalog) -> None:
    for draft in (
        Draft("A", Kind.SUBSCRIPTION, catalog.prices["day_pass"]),
        Draft("B", Kind.TIME_PASS, catalog.prices["pro_monthly"], duration_seconds=60),
        Draft("C", Kind.USAGE_PACK, catalog.prices["pro_monthly"], units=1),
    ):
        with pytest.raises(ProductRefused) as refused:
            catalog.create(draft)
        assert set(refused.value.fields) == {"price_id"}


def test_a_price_stripe_does_not_know_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ProductRefused) as refused:
        catalog.create(Draft("A", Kind.SUBSCRIPTION, "price_nobodyknows"))
    assert "no such price" in refused.value.fields["price_id"]


def test_an_archived_price_is_refused(catalog: Catalog) -> None:
    catalog.stripe(f"/prices/{catalog.prices['pro_monthly']}", active="false")
    with pytest.raises(ProductRefused) as refused:
        catalog.create(catalog.subscription())
    assert "archived" in refused.value.fields["price_id"]


def test_a_bad_description_is_refused_before_stripe_is_asked(
    runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    with pytest.raises(ProductRefused) as refused:
        actions.create_product(
            runtime.database,
            runtime.gateway,
            runtime.secret_box,
            Scope(cast.project_id, Mode.TEST),
            draft=Draft("price_1", Kind.USAGE_PACK, ""),
            actor=Actor(),
            now=clock(),
        )
    assert set(refused.value.fields) == {"product_code", "price_id", "units"}


def test_a_side_without_a_connection_sells_nothing(catalog: Catalog) -> None:
    with pytest.raises(StripeNotConnected):
        catalog.create(catalog.subscription(), mode=Mode.LIVE)


def test_a_code_is_unique_in_its_mode_and_free_in_another_project(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    with pytest.raises(ProductRefused) as refused:
        catalog.create(catalog.subscription())
    assert "Another product" in refused.value.fields["product_code"]
    with catalog.runtime.database.write() as db:
        actions.archive_product(
            db, catalog.side, product_id=product.id, actor=catalog.actor, now=catalog.clock()
        )
    with pytest.raises(ProductRefused) as archived:
        catalog.create(catalog.subscription())
    assert "archived" in archived.value.fields["product_code"]
    with catalog.runtime.database.write() as db:
        make_product(db, project_id=catalog.cast.stranger.project_id, product_code="PRO_MONTHLY")


def test_a_price_that_was_mapped_twice_means_the_oldest_product(catalog: Catalog) -> None:
    first = catalog.create(catalog.subscription("PRO"))
    later = catalog.clock.advance(seconds=1)
    with catalog.runtime.database.write() as db:
        make_product(
            db,
            project_id=catalog.cast.project_id,
            product_code="PRO_TOO",
            stripe_price_id=first.prices[0].stripe_price_id,
            now=later,
        )
    with catalog.runtime.database.read() as db:
        listed = queries.products(db, catalog.side)
        oldest = queries.product_by_price(db, catalog.side, price_id=first.prices[0].stripe_price_id)
    assert rules.shared_prices(listed) == {first.prices[0].stripe_price_id: ["PRO", "PRO_TOO"]}
    assert oldest is not None
    assert oldest.id == first.id


def test_an_edit_changes_what_is_sold_but_neither_code_nor_kind(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    edited = catalog.edit(
        product,
        Draft("OTHER", Kind.USAGE_PACK, catalog.prices["pro_yearly"], units=5, features=("a",), trial_days=7),
    )
    assert (edited.product_code, edited.kind) == ("PRO_MONTHLY", Kind.SUBSCRIPTION)
    (yearly,) = edited.selling_prices
    assert (yearly.unit_amount, yearly.interval, edited.trial_days) == (12_000, "year", 7)
    assert [price.stripe_price_id for price in edited.prices if not price.selling] == [
        catalog.prices["pro_monthly"]
    ]
    assert (edited.features, edited.units) == (["a"], None)


def test_refreshing_stores_what_stripe_says_now(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    catalog.stripe(f"/prices/{product.prices[0].stripe_price_id}", active="false")
    fresh = prices.refresh_prices(
        *catalog.parts, scope=catalog.side, product_id=product.id, now=catalog.clock.advance(hours=1)
    )
    assert fresh.prices[0].active is False
    assert fresh.prices[0].checked_at == catalog.clock()


def test_archiving_and_restoring(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    with catalog.runtime.database.write() as db:
        actions.archive_product(
            db, catalog.side, product_id=product.id, actor=catalog.actor, now=catalog.clock()
        )
        assert queries.products(db, catalog.side) == []
        assert [p.id for p in queries.archived_products(db, catalog.side)] == [product.id]
        actions.restore_product(
            db, catalog.side, product_id=product.id, actor=catalog.actor, now=catalog.clock()
        )
        assert [p.id for p in queries.products(db, catalog.side)] == [product.id]
        entries = db.exec(select(AuditEntry.action).where(AuditEntry.about == product.id)).all()
    assert sorted(entries) == ["product.archived", "product.created", "product.restored"]


def test_products_of_the_other_mode_or_of_strangers_are_not_found(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    foreign = [
        Scope(catalog.cast.project_id, Mode.LIVE),
        Scope(catalog.cast.stranger.project_id, Mode.TEST),
    ]
    for side in foreign:
        with catalog.runtime.database.write() as db:
            with pytest.raises(ProductNotFound):
                queries.product(db, side, product_id=product.id)
            with pytest.raises(ProductNotFound):
                actions.archive_product(
                    db, side, product_id=product.id, actor=catalog.actor, now=catalog.clock()
                )
            assert queries.product_by_price(db, side, price_id=product.prices[0].stripe_price_id) is None
        with pytest.raises(ProductNotFound):
            prices.refresh_prices(*catalog.parts, scope=side, product_id=product.id, now=catalog.clock())
