"""The units that a subscription includes: which lines it may have, and how they are sold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.catalog import rules
from licenzy.catalog.copying import draft_with_price
from licenzy.catalog.included import (
    Every,
    IncludedUnits,
    Rollover,
    fits,
    line_problems,
    lines_of,
    price_step_problem,
    step_problems,
)
from licenzy.catalog.models import Kind, ProductTerms
from licenzy.catalog.rules import ProductRefused
from licenzy.usage.units import units_sold
from tests.catalog.conftest import Catalog
from tests.support.cast import make_product

IMAGES = IncludedUnits("images", 1000, Every.MONTH, Rollover(500), trial_units=50, low_units=100)
PAGES = IncludedUnits("pages", 20)
IMAGES_JSON = {
    "unit": "images",
    "units": 1000,
    "every": "month",
    "rollover": {"at_most": 500},
    "trial_units": 50,
    "low_units": 100,
}
PAGES_JSON = {"unit": "pages", "units": 20, "every": "period", "rollover": None}


@dataclass(frozen=True, slots=True)
class Price:
    interval: str | None
    interval_count: int | None = 1


@pytest.mark.parametrize(
    ("line", "stored"),
    [
        (IMAGES, IMAGES_JSON),
        (PAGES, PAGES_JSON),
        (replace(PAGES, rollover=Rollover()), {**PAGES_JSON, "rollover": {"at_most": None}}),
        (replace(PAGES, rollover=Rollover(0), trial_units=0), None),
    ],
)
def test_a_line_is_stored_and_read_back(line: IncludedUnits, stored: dict[str, Any] | None) -> None:
    assert stored is None or line.to_json() == stored
    assert IncludedUnits.from_json(line.to_json()) == line


@pytest.mark.parametrize(
    ("every", "price", "fit"),
    [
        (Every.PERIOD, Price("day"), True),
        (Every.DAY, Price("day"), True),
        (Every.WEEK, Price("day", 6), False),
        (Every.WEEK, Price("day", 7), True),
        (Every.MONTH, Price("day", 30), False),
        (Every.MONTH, Price("day", 31), True),
        (Every.DAY, Price("week"), True),
        (Every.WEEK, Price("week"), True),
        (Every.MONTH, Price("week"), False),
        (Every.MONTH, Price("week", 4), False),
        (Every.MONTH, Price("week", 5), True),
        (Every.WEEK, Price("month"), True),
        (Every.MONTH, Price("month", None), True),
        (Every.MONTH, Price("month", 3), True),
        (Every.MONTH, Price("year"), True),
        (Every.MONTH, Price(None, None), True),
    ],
)
def test_a_step_is_never_longer_than_the_interval(every: Every, price: Price, fit: bool) -> None:
    assert fits(every, price) is fit
    line = replace(IMAGES, every=every)
    assert (price_step_problem([line], price) is None) is fit
    assert list(step_problems([PAGES, line], [Price("year"), price])) == ([] if fit else ["included-1-every"])


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ([IMAGES, PAGES], []),
        ([replace(PAGES, units=0)], []),
        ([replace(PAGES, unit="Pages")], ["included-0-unit"]),
        ([replace(PAGES, unit="")], ["included-0-unit"]),
        ([PAGES, PAGES], ["included-1-unit"]),
        ([replace(PAGES, units=-1)], ["included-0-units"]),
        ([replace(PAGES, units=1_000_000_001)], ["included-0-units"]),
        ([PAGES, replace(IMAGES, rollover=Rollover(-1))], ["included-1-at_most"]),
        ([replace(IMAGES, trial_units=-1, low_units=-1)], ["included-0-trial_units", "included-0-low_units"]),
        ([replace(PAGES, unit=f"unit_{n}") for n in range(10)], []),
        ([replace(PAGES, unit=f"unit_{n}") for n in range(11)], ["included"]),
    ],
)
def test_lines_are_checked_by_field(lines: list[IncludedUnits], fields: list[str]) -> None:
    assert list(line_problems(lines)) == fields


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (IncludedUnits("images", 20, Every.DAY), []),
        (IncludedUnits("images", 20, Every.MONTH, low_units=5), []),
        (IncludedUnits("images", 20), ["included-0-every"]),
        (IncludedUnits("images", 20, Every.DAY, rollover=Rollover()), ["included-0-rollover"]),
        (IncludedUnits("images", 20, Every.DAY, trial_units=0), ["included-0-trial_units"]),
    ],
)
def test_a_free_product_has_neither_periods_nor_rollover_nor_a_trial(
    line: IncludedUnits, fields: list[str]
) -> None:
    assert list(line_problems([line], is_sold=False)) == fields


def test_included_units_are_sold_and_each_edit_is_a_version(catalog: Catalog) -> None:
    draft = replace(catalog.subscription(), included=(IMAGES, PAGES))
    product = catalog.create(draft)
    assert rules.as_sold(product, price_id="price_1")["included"] == [IMAGES_JSON, PAGES_JSON]
    assert lines_of(rules.terms_of(product)["included"]) == (IMAGES, PAGES)
    assert (product.unit, product.units) == ("units", None)
    assert catalog.edit(product, draft).terms_version == 1
    edited = catalog.edit(product, replace(draft, included=(replace(IMAGES, units=2000), PAGES)))
    assert edited.terms_version == 2
    without = catalog.edit(product, catalog.subscription())
    assert without.terms_version == 3
    assert "included" not in rules.as_sold(without, price_id="price_1")
    with catalog.runtime.database.read() as db:
        terms = db.exec(select(ProductTerms.terms).order_by(col(ProductTerms.version))).all()
    assert [[line["units"] for line in each.get("included", [])] for each in terms] == [
        [1000, 20],
        [2000, 20],
        [],
    ]


def test_terms_of_before_stay_equal(catalog: Catalog) -> None:
    product = catalog.create(catalog.subscription())
    assert set(rules.terms_of(product)) == {"units", "duration_seconds", "features", "grace_days"}


def test_only_subscriptions_include_units(catalog: Catalog) -> None:
    pack = replace(
        catalog.subscription(),
        kind=Kind.USAGE_PACK,
        price_id=catalog.prices["credits_1000"],
        units=5,
        included=(IMAGES,),
    )
    assert catalog.create(pack).included == []


def test_a_wrong_line_is_refused_at_its_field(catalog: Catalog) -> None:
    with pytest.raises(ProductRefused) as refused:
        catalog.create(replace(catalog.subscription(), included=(replace(IMAGES, units=-1),)))
    assert list(refused.value.fields) == ["included-0-units"]


def test_no_step_is_longer_than_a_price_that_is_sold(catalog: Catalog) -> None:
    item = catalog.stripe("/prices", currency="usd", unit_amount="300", **WEEKLY)["id"]
    monthly = replace(catalog.subscription(), included=(IMAGES,))
    with pytest.raises(ProductRefused, match="renews every week") as refused:
        catalog.create(replace(monthly, price_id=item))
    assert list(refused.value.fields) == ["included-0-every"]
    product = catalog.create(monthly)
    with pytest.raises(ProductRefused, match="includes images every month") as refused:
        catalog.add(product, item, "week")
    assert list(refused.value.fields) == ["price_id"]
    # In one edit both change: what counts is what the product is sold at afterwards.
    weekly = replace(monthly, price_id=item, included=(replace(IMAGES, every=Every.WEEK),))
    with pytest.raises(ProductRefused):
        catalog.edit(product, replace(weekly, included=(IMAGES,)))
    assert catalog.edit(product, weekly).selling_prices[0].stripe_price_id == item
    assert catalog.edit(product, monthly).included == [IMAGES_JSON]
    catalog.add(product, catalog.prices["pro_yearly"], "year")
    catalog.edit(product, replace(monthly, included=(replace(IMAGES, every=Every.DAY),)))
    catalog.add(product, item, "week")
    with pytest.raises(ProductRefused) as refused:
        catalog.edit(product, monthly)
    assert list(refused.value.fields) == ["included-0-every"]


WEEKLY = {"recurring[interval]": "week", "product_data[name]": "Pro, weekly"}


def test_a_copy_has_the_included_units(catalog: Catalog) -> None:
    product = catalog.create(replace(catalog.subscription(), included=(IMAGES, PAGES)))
    assert draft_with_price(product, "price_2", "year").included == (IMAGES, PAGES)


def test_units_sold_are_those_of_packs_and_those_included(catalog: Catalog) -> None:
    project_id = catalog.cast.project_id
    with catalog.runtime.database.write() as db:
        make_product(db, project_id=project_id, kind=Kind.USAGE_PACK, product_code="PACK", unit="sounds")
        make_product(db, project_id=project_id, included=[IMAGES_JSON, PAGES_JSON], product_code="PRO")
        make_product(db, project_id=project_id, product_code="PLAIN")
        make_product(db, project_id=project_id, mode=Mode.LIVE, included=[PAGES_JSON | {"unit": "live"}])
    with catalog.runtime.database.read() as db:
        assert units_sold(db, catalog.side) == ["images", "pages", "sounds"]
