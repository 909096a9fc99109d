"""Included units in the file: applied, compared, exported, and changed together with prices."""

from __future__ import annotations

from typing import Any

import pytest

from licenzy.catalog.included import Every, IncludedUnits, Rollover, lines_of
from tests.configuration.conftest import Shop
from tests.configuration.test_apply import PRO

IMAGES = """
  [[product.included]]
  unit = "images"
  units = 1000
  every = "month"
  rollover = { at_most = 500 }
  trial_units = 50
  low_units = 100
"""
PAGES = """
  [[product.included]]
  unit = "pages"
  units = 20
  every = "period"
"""


def included(shop: Shop) -> tuple[IncludedUnits, ...]:
    return lines_of(shop.product("PRO").included)


def test_included_units_are_applied_once_and_exported(shop: Shop) -> None:
    shown = shop.apply(PRO + IMAGES + PAGES).stdout
    assert (
        'included: [{ unit = "images", units = 1000, every = "month", rollover = { at_most = 500 }, '
        'trial_units = 50, low_units = 100 }, { unit = "pages", units = 20, every = "period" }]'
    ) in shown
    assert included(shop) == (
        IncludedUnits("images", 1000, Every.MONTH, Rollover(500), trial_units=50, low_units=100),
        IncludedUnits("pages", 20),
    )
    assert not shop.differs(PRO + IMAGES + PAGES)
    assert IMAGES + PAGES in shop.exported()
    assert not shop.differs(shop.exported())
    assert shop.product("PRO").terms_version == 1


def test_a_changed_line_makes_the_next_version_of_the_terms(shop: Shop) -> None:
    shop.applied(PRO + IMAGES)
    unlimited = IMAGES.replace("at_most = 500", 'at_most = "unlimited"')
    assert shop.applied(PRO + unlimited)["products"][0]["fields"][0]["key"] == "included"
    assert included(shop)[0].rollover == Rollover(None)
    assert shop.product("PRO").terms_version == 2
    assert 'rollover = { at_most = "unlimited" }' in shop.exported()
    shop.applied(PRO)
    assert (included(shop), shop.product("PRO").terms_version) == ((), 3)


def priced(interval: str, included: str) -> str:
    """A product at one price of this interval, with this table of included units."""
    create = f'{{ amount = 100, currency = "usd", interval = "{interval}" }}'
    price = f'[[product.price]]\nlookup_key = "by_{interval}"\ncreate = {create}\n'
    return f'[[product]]\ncode = "PRO"\nkind = "subscription"\n{price}{included}'


def test_prices_and_included_units_change_together(shop: Shop) -> None:
    shop.applied(priced("month", IMAGES))
    weekly = IMAGES.replace('"month"', '"week"')
    for _ in range(2):
        shop.applied(priced("week", weekly))
        assert included(shop)[0].every is Every.WEEK
        assert not shop.differs(priced("week", weekly))
        shop.applied(priced("month", IMAGES))
        assert included(shop)[0].every is Every.MONTH
    assert [each.interval for each in shop.product("PRO").selling_prices] == ["month"]


REFUSED: list[tuple[str | None, str]] = [
    (None, priced("week", IMAGES)),
    (priced("month", IMAGES), priced("week", IMAGES)),
    (priced("week", PAGES), priced("week", PAGES + IMAGES)),
    # The weekly price stays, because the file does not name it.
    (priced("week", PAGES), priced("month", IMAGES).replace("lookup_key", 'label = "other"\nlookup_key')),
]


@pytest.mark.parametrize(("before", "file"), REFUSED)
def test_a_step_longer_than_a_price_is_refused_before_anything_is_written(
    shop: Shop, before: str | None, file: str
) -> None:
    report: dict[str, Any] = shop.applied(before) if before is not None else {}
    number = 2 if PAGES + IMAGES in file else 1
    sentence = (
        f"shop.toml: product PRO: included {number}, every: A price of this product renews every week. "
        "Grant the units as often as that, or more often."
    )
    assert shop.refused(file, "--dry-run") == sentence
    assert shop.refused(file) == sentence
    assert bool(report) == (shop.codes() == ["PRO"])
