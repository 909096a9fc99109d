"""The sentence of what a buyer pays and gets, for every kind of product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from licenzy.catalog.included import Every, IncludedUnits, Rollover
from licenzy.catalog.models import Kind
from licenzy.catalog.offer import offer_sentence
from licenzy.catalog.rules import Draft

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Price:
    unit_amount: int | None
    interval: str | None = None
    interval_count: int | None = 1
    currency: str = "eur"


MONTH, YEAR = Price(2000, "month"), Price(20_000, "year")
IMAGES = IncludedUnits("images", 1000, Every.MONTH, Rollover(500), trial_units=50)
PAGES = IncludedUnits("pages", 20, Every.DAY)
PERIOD = IncludedUnits("images", 10)
SUB, PASS, PACK = Kind.SUBSCRIPTION, Kind.TIME_PASS, Kind.USAGE_PACK

SENTENCES: list[tuple[Kind, list[Price], dict[str, Any], str]] = [
    (
        SUB,
        [MONTH, YEAR],
        {"included": (IMAGES,), "trial_days": 14},
        "A buyer pays €20.00 a month or €200.00 a year and gets 1,000 images each month; "
        "up to 500 unused images carry over once; 14 days’ trial with 50 images.",
    ),
    (
        SUB,
        [],
        {"limits": {"projects": 1000, "seats": None}},
        "A buyer gets access while it is paid, projects up to 1,000 and seats without a limit.",
    ),
    (
        SUB,
        [],
        {"limits": {"a": 1, "b": 2, "c": 3, "d": 4}, "adds": True},
        "A buyer gets access while it is paid, 1 more a, 2 more b, 3 more c and 1 other limit.",
    ),
    (Kind.FREE, [], {"limits": {"projects": 1}}, "A customer gets projects up to 1."),
    (Kind.FREE, [], {}, ""),
    (SUB, [MONTH], {}, "A buyer pays €20.00 a month and gets access while it is paid."),
    (SUB, [], {}, "A buyer gets access while it is paid."),
    (
        SUB,
        [MONTH],
        {"trial_days": 1, "grace_days": 3, "features": ("export",)},
        "A buyer pays €20.00 a month and gets access while it is paid and the feature export; "
        "1 day’s trial; 3 days of access after a failed payment.",
    ),
    (
        SUB,
        [Price(0, "month"), Price(None, "week"), Price(500, "month", 3)],
        {"grace_days": 1, "adjustable_quantity": True},
        "A buyer pays €0.00 a month, a varying amount a week or €5.00 every 3 months and gets access while "
        "it is paid; 1 day of access after a failed payment; "
        "buyers choose a quantity, which multiplies the price.",
    ),
    (
        SUB,
        [Price(100 * n, "month") for n in range(1, 7)],
        {"features": ("a", "b", "c", "d", "e")},
        "A buyer pays €1.00 a month, €2.00 a month, €3.00 a month, €4.00 a month or one of 2 other prices "
        "and gets access while it is paid and the features a, b, c and 2 more.",
    ),
    (
        SUB,
        [MONTH],
        {"included": (IMAGES, PAGES), "trial_days": 7, "adjustable_quantity": True},
        "A buyer pays €20.00 a month and gets 1,000 images each month and 20 pages each day; "
        "up to 500 unused images carry over once; 7 days’ trial with 50 images and 20 pages; "
        "buyers choose a quantity, which multiplies price and units.",
    ),
    (SUB, [MONTH], {"included": (PERIOD,)}, "A buyer pays €20.00 a month and gets 10 images each month."),
    (
        SUB,
        [Price(500, "month", 3)],
        {"included": (PERIOD,)},
        "A buyer pays €5.00 every 3 months and gets 10 images every 3 months.",
    ),
    (
        SUB,
        [MONTH, YEAR],
        {"included": (PERIOD,)},
        "A buyer pays €20.00 a month or €200.00 a year and gets 10 images each billing period.",
    ),
    (
        SUB,
        [MONTH],
        {"included": (IncludedUnits("images", 5, Every.WEEK, Rollover()),)},
        "A buyer pays €20.00 a month and gets 5 images each week; unused images carry over once.",
    ),
    (
        SUB,
        [MONTH],
        {"included": (IncludedUnits("images", 5, Every.WEEK, Rollover(0)),)},
        "A buyer pays €20.00 a month and gets 5 images each week.",
    ),
    (PASS, [Price(300)], {"duration_seconds": DAY}, "A buyer pays €3.00 and gets access for 1 day."),
    (
        PASS,
        [Price(300), Price(350, currency="chf")],
        {"duration_seconds": 90 * DAY, "features": ("export", "api")},
        "A buyer pays €3.00 or 3.50 CHF and gets access for 3 months and the features export and api.",
    ),
    (
        PACK,
        [Price(900)],
        {"units": 1000, "unit": "images"},
        "A buyer pays €9.00 and gets 1,000 images; they never expire.",
    ),
    (
        PACK,
        [Price(900)],
        {"units": 5, "duration_seconds": 10 * DAY},
        "A buyer pays €9.00 and gets 5 units; they expire after 10 days.",
    ),
]


@pytest.mark.parametrize(("kind", "prices", "terms", "sentence"), SENTENCES)
def test_a_sentence_says_what_a_buyer_gets(
    kind: Kind, prices: list[Price], terms: dict[str, Any], sentence: str
) -> None:
    assert offer_sentence(Draft("PRO", kind, "", **terms), prices) == sentence
