"""The plans of the abuse table, and what happens to a subscription, in few words.

An item is called `a` where nothing else is said, a subscription `sub`, and the unit `images`.
"""

from __future__ import annotations

from tests.properties.included.case import Case, Expected
from tests.properties.included.purchase import (
    Begin,
    Bill,
    Change,
    Included,
    Pack,
    Price,
    Purchase,
    Renew,
    Step,
    utc,
)

APRIL, MAY, JUNE, JULY = "2027-04-01", "2027-05-01", "2027-06-01", "2027-07-01"


def _monthly(units: int, product: str, *, interval: str = "month", trial_units: int | None = None) -> Price:
    return Price((Included(units, "month", trial_units=trial_units),), product, interval=interval)


PRICES = {
    "basic": _monthly(1000, "BASIC", trial_units=50),
    "basic_year": _monthly(1000, "BASIC", interval="year"),
    "small": _monthly(100, "SMALL"),
    "big": _monthly(10_000, "BIG"),
    "three": _monthly(3000, "THREE"),
    "rolling": Price((Included(1000, "month", rolls_over=True, at_most=500),), "ROLLING"),
    "rolling_all": Price((Included(1000, "month", rolls_over=True, trial_units=50),), "ROLLING_ALL"),
    "rolling_year": Price(
        (Included(1000, "month", rolls_over=True, at_most=500),), "ROLLING", interval="year"
    ),
    "daily": Price((Included(100, "day"),), "DAILY"),
    "weekly": Price((Included(70, "week"),), "WEEKLY"),
    "weekly_double": Price((Included(140, "week"),), "WEEKLY_DOUBLE"),
    "whole_year": Price((Included(12_000, "period"),), "WHOLE_YEAR", interval="year"),
    "storage": Price((Included(50, "month", unit="gigabytes"),), "STORAGE"),
    "both": Price((Included(200, "month"), Included(20, "month", unit="videos")), "BOTH"),
}


def paid(at: str, *, refunded: str | None = None, failed: str | None = None) -> Bill:
    return Bill(
        paid=utc(at),
        refunded=utc(refunded) if refunded else None,
        failed=utc(failed) if failed else None,
    )


def begin(price: str, quantity: int = 1, *, at: str = APRIL, until: str = MAY) -> Begin:
    return Begin(utc(at), utc(until), (("a", price, quantity),), paid(at))


def trial(price: str, quantity: int = 1, *, at: str = APRIL, until: str) -> Begin:
    return Begin(utc(at), utc(until), (("a", price, quantity),), Bill(free=True), trial=True)


def renew(at: str, until: str, bill: Bill | None = None) -> Renew:
    """The next period, paid an hour after it began where nothing else is said."""
    return Renew(utc(at), utc(until), bill or paid(f"{at} 01:00:00"))


def always(
    at: str, *, price: str | None = None, quantity: int | None = None, bill: Bill | None = None
) -> Change:
    return Change(utc(at), "a", price, quantity, "always", bill or paid(at))


def sub(*steps: Step, name: str = "sub") -> Purchase:
    return Purchase(name, steps)


def case(name: str, purchase: Purchase, *expected: Expected, packs: tuple[Pack, ...] = ()) -> Case:
    return Case(name, PRICES, (purchase,), expected, packs)
