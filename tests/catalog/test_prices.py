"""The prices of a product, and the numbered terms it is sold on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.catalog import prices, queries, rules
from licenzy.catalog.models import Kind, PriceBackfill, Product, ProductTerms
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.errors import NotFound, ProductNotFound
from licenzy.projects.scope import Scope
from licenzy.workspace.models import AuditEntry
from tests.catalog.conftest import Catalog


def selling(product: Product) -> dict[str, str]:
    return {price.label: price.stripe_price_id for price in product.selling_prices}


def price_id(product: Product, stripe_price_id: str) -> str:
    return next(price.id for price in product.prices if price.stripe_price_id == stripe_price_id)


def retire(catalog: Catalog, product: Product, stripe_price_id: str) -> None:
    with catalog.runtime.database.write() as db:
        prices.retire_price(
            db,
            catalog.side,
            product_id=product.id,
            price_id=price_id(product, stripe_price_id),
            actor=catalog.actor,
            now=catalog.clock(),
        )


def relabel(catalog: Catalog, product: Product, stripe_price_id: str, label: str) -> None:
    with catalog.runtime.database.write() as db:
        prices.label_price(
            db,
            catalog.side,
            product_id=product.id,
            price_id=price_id(product, stripe_price_id),
            label=label,
            actor=catalog.actor,
            now=catalog.clock(),
        )


def yearly_in_euro(catalog: Catalog) -> str:
    made = catalog.stripe(
        "/prices",
        **{
            "unit_amount": "9000",
            "currency": "eur",
            "recurring[interval]": "year",
            "product_data[name]": "Pro in Europe",
        },
    )
    return str(made["id"])


def test_a_product_is_sold_at_several_prices(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    monthly, yearly, euro = (
        catalog.prices["pro_monthly"],
        catalog.prices["pro_yearly"],
        yearly_in_euro(catalog),
    )
    catalog.add(product, yearly, "year")
    product = catalog.add(product, euro, "year_eur")
    assert selling(product) == {"default": monthly, "year": yearly, "year_eur": euro}
    assert product.main_price is not None
    assert product.main_price.stripe_price_id == monthly
    relabel(catalog, product, monthly, "month")
    assert catalog.now_has(product).main_price is None
    for gone in (yearly, euro):
        retire(catalog, product, gone)
    assert selling(catalog.now_has(product)) == {"month": monthly}
    only = catalog.now_has(product).main_price
    assert only is not None
    assert only.label == "month"
    with catalog.runtime.database.read() as db:
        entries = db.exec(
            select(AuditEntry.action).where(AuditEntry.about == product.id).order_by(col(AuditEntry.id))
        ).all()
    assert entries == [
        "product.created",
        "product.price_added",
        "product.price_added",
        "product.price_labelled",
        "product.price_retired",
        "product.price_retired",
    ]


def test_another_price_under_a_label_retires_the_one_that_has_it(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    monthly, yearly = catalog.prices["pro_monthly"], catalog.prices["pro_yearly"]
    later = catalog.clock.advance(days=1)
    product = catalog.add(product, yearly, "default")
    assert selling(product) == {"default": yearly}
    assert [(each.stripe_price_id, each.retired_at) for each in product.prices] == [
        (monthly, later),
        (yearly, None),
    ]
    with catalog.runtime.database.read() as db:
        found = queries.product_by_price(db, catalog.side, price_id=monthly)
        sold = queries.sold_product_id(db, catalog.side, stripe_id=monthly)
    assert found is not None
    assert (found.id, sold) == (product.id, None)
    again = catalog.add(product, monthly, "month")
    assert selling(again) == {"month": monthly, "default": yearly}
    assert len(again.prices) == 2


@pytest.mark.parametrize("mapped", ["selling", "retired", "archived"])
def test_a_price_of_another_product_is_refused(catalog: Catalog, mapped: str) -> None:
    first = catalog.create(catalog.subscription("FIRST"))
    monthly, yearly = catalog.prices["pro_monthly"], catalog.prices["pro_yearly"]
    if mapped == "retired":
        retire(catalog, first, monthly)
    if mapped == "archived":
        with catalog.runtime.database.write() as db:
            queries.product(db, catalog.side, product_id=first.id).archived_at = catalog.clock()
    with pytest.raises(ProductRefused, match="FIRST has this price"):
        catalog.create(catalog.subscription("SECOND"))
    second = catalog.create(replace(catalog.subscription("SECOND"), price_id=yearly))
    with pytest.raises(ProductRefused, match="FIRST has this price"):
        catalog.add(second, monthly, "month")
    with pytest.raises(ProductRefused, match="FIRST has this price"):
        catalog.edit(second, replace(catalog.subscription(), price_id=monthly))
    assert selling(catalog.now_has(second)) == {"default": yearly}


def test_what_does_not_fit_is_refused_at_its_field(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    monthly, yearly = catalog.prices["pro_monthly"], catalog.prices["pro_yearly"]
    for stripe_price_id, label, field in (
        (catalog.prices["day_pass"], "day", "price_id"),
        ("price_nobodyknows", "x", "price_id"),
        (monthly, "again", "price_id"),
        (yearly, "Not a label", "price_label"),
        ("", "x", "price_id"),
    ):
        with pytest.raises(ProductRefused) as refused:
            catalog.add(product, stripe_price_id, label)
        assert set(refused.value.fields) == {field}, (stripe_price_id, label)
    product = catalog.add(product, yearly, "year")
    for label in ("year", "Year", ""):
        with pytest.raises(ProductRefused) as refused:
            relabel(catalog, product, monthly, label)
        assert set(refused.value.fields) == {"price_label"}
    assert selling(catalog.now_has(product)) == {"default": monthly, "year": yearly}


def test_an_edit_of_a_product_without_a_main_price_keeps_its_prices(catalog: Catalog) -> None:
    product = catalog.create(replace(catalog.subscription(), price_label="month"))
    product = catalog.add(product, catalog.prices["pro_yearly"], "year")
    before = selling(product)
    catalog.edit(product, Draft("", Kind.SUBSCRIPTION, "", features=("new",)))
    after = catalog.now_has(product)
    assert (selling(after), after.features, after.terms_version) == (before, ["new"], 2)


def test_prices_of_the_other_mode_or_of_strangers_are_not_found(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    foreign: list[Scope] = [
        Scope(catalog.cast.project_id, Mode.LIVE),
        Scope(catalog.cast.stranger.project_id, Mode.TEST),
    ]
    mine: dict[str, Any] = {
        "product_id": product.id,
        "price_id": product.prices[0].id,
        "actor": catalog.actor,
        "now": catalog.clock(),
    }
    for side in foreign:
        with catalog.runtime.database.write() as db:
            with pytest.raises(ProductNotFound):
                prices.retire_price(db, side, **mine)
            with pytest.raises(ProductNotFound):
                prices.label_price(db, side, label="x", **mine)
    with catalog.runtime.database.write() as db, pytest.raises(NotFound):
        prices.retire_price(db, catalog.side, **{**mine, "price_id": "ppr_of_nobody"})
    assert selling(catalog.now_has(product)) == {"default": catalog.prices["pro_monthly"]}


def test_of_two_that_map_a_price_at_once_one_is_refused(catalog: Catalog) -> None:
    at_once = threading.Barrier(2)

    def create(code: str) -> str:
        at_once.wait(10)
        try:
            return catalog.create(catalog.subscription(code)).product_code
        except ProductRefused as refused:
            return next(iter(refused.fields))

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(create, ("A", "B")))
    assert outcomes in (["A", "price_id"], ["B", "price_id"])


def terms(catalog: Catalog, product: Product) -> list[tuple[int, datetime, dict[str, Any]]]:
    with catalog.runtime.database.read() as db:
        rows = db.exec(
            select(ProductTerms)
            .where(ProductTerms.product_id == product.id)
            .order_by(col(ProductTerms.version))
        )
        return [(row.version, row.from_, row.terms) for row in rows]


def test_each_edit_of_the_terms_writes_the_next_version(catalog: Catalog) -> None:
    draft = replace(catalog.subscription(), features=("a",), grace_days=3)
    product, first = catalog.create(draft), catalog.clock()
    catalog.clock.advance(days=1)
    catalog.edit(product, replace(draft, trial_days=7, allow_promotion_codes=True))
    assert [version for version, _from, _terms in terms(catalog, product)] == [1]
    second = catalog.clock.advance(days=1)
    catalog.edit(product, replace(draft, features=("a", "b")))
    third = catalog.clock.advance(days=1)
    edited = catalog.edit(product, replace(draft, grace_days=0))
    same = {"units": None, "duration_seconds": None}
    assert terms(catalog, product) == [
        (1, first, {**same, "features": ["a"], "grace_days": 3}),
        (2, second, {**same, "features": ["a", "b"], "grace_days": 3}),
        (3, third, {**same, "features": ["a"], "grace_days": 0}),
    ]
    assert edited.terms_version == 3
    assert rules.as_sold(edited, price_id="price_1")["version"] == 3


def test_a_newly_mapped_recurring_price_is_searched_for(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    catalog.create(Draft("DAY", Kind.TIME_PASS, catalog.prices["day_pass"], duration_seconds=86_400))
    retire(catalog, product, catalog.prices["pro_monthly"])
    catalog.add(product, catalog.prices["pro_monthly"], "month")
    with catalog.runtime.database.read() as db:
        searched = db.exec(select(PriceBackfill.stripe_price_id)).all()
    assert searched == [catalog.prices["pro_monthly"]], "one time, for what is sold more than once"


@pytest.mark.parametrize(
    ("taken", "interval", "label"),
    [
        (set(), "month", "default"),
        ({"default"}, "year", "year"),
        ({"default", "year"}, "year", ""),
        ({"default"}, None, ""),
    ],
)
def test_a_label_is_proposed(taken: set[str], interval: str | None, label: str) -> None:
    assert rules.proposed_label(taken, interval) == label
