"""The unit that a usage pack consists of: named by the product, sold with it, fixed once somebody has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import col, select

from licenzy.catalog import rules
from licenzy.catalog.models import Kind, ProductTerms
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.entitlements import grants
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement
from tests.catalog.conftest import Catalog


def pack(catalog: Catalog, unit: str) -> Draft:
    return Draft("CREDITS", Kind.USAGE_PACK, catalog.prices["credits_1000"], units=1000, unit=unit)


def test_a_unit_is_part_of_the_terms(catalog: Catalog) -> None:
    product = catalog.create(pack(catalog, "images"))
    edited = catalog.edit(product, pack(catalog, "pages"))
    assert (edited.unit, edited.terms_version) == ("pages", 2)
    assert rules.as_sold(edited, price_id="price_1")["unit"] == "pages"
    with catalog.runtime.database.read() as db:
        terms = db.exec(select(ProductTerms.terms).order_by(col(ProductTerms.version))).all()
    assert [each["unit"] for each in terms] == ["images", "pages"]


def test_a_unit_is_fixed_once_somebody_has_the_product(catalog: Catalog) -> None:
    product = catalog.create(pack(catalog, "images"))
    with catalog.runtime.database.write() as db:
        operator = OperatorContext(catalog.side, catalog.actor, "a gift", catalog.clock())
        grants.grant(db, operator, subject_ref="user_123", product=product)
        assert db.exec(select(Entitlement.unit)).one() == "images"
    with pytest.raises(ProductRefused, match="its unit stays images") as refused:
        catalog.edit(product, pack(catalog, "pages"))
    assert list(refused.value.fields) == ["unit"]
    assert catalog.edit(product, replace(pack(catalog, "images"), units=5)).units == 5


@pytest.mark.parametrize("unit", ["", "Images", "a-b", "a" * 33, "é", "a b", "units\n"])
def test_a_unit_has_a_plain_name(catalog: Catalog, unit: str) -> None:
    with pytest.raises(ProductRefused) as refused:
        catalog.create(pack(catalog, unit))
    assert list(refused.value.fields) == ["unit"]


def test_other_kinds_have_no_unit(catalog: Catalog) -> None:
    product = catalog.create(replace(catalog.subscription(), unit="images"))
    assert product.unit == "units"
    assert "unit" not in rules.terms_of(product)
