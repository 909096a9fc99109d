"""Thirty price lists as merchants publish them, each with a short history and balances by hand.

April has 30 days, May 31, June 30. Nothing is used in these histories: what a balance has is what the facts
give in a window, and what is carried into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.properties.included.plans import APRIL, JULY, JUNE, MAY, always, begin, paid, renew, trial
from tests.properties.included.purchase import (
    Begin,
    Bill,
    Cancel,
    Change,
    Included,
    Pause,
    Price,
    Prices,
    Purchase,
    Renew,
    Reset,
    Step,
    utc,
)


class Row(NamedTuple):
    """What is there at an instant: the end of the window, its units, and those that are carried into it."""

    at: str
    ends: str | None
    """None where nothing is available."""
    units: int = 0
    carried: int = 0


@dataclass(frozen=True)
class PriceList:
    name: str
    prices: Prices
    steps: tuple[Step, ...]
    rows: tuple[Row, Row, Row]
    unit: str = "images"

    @property
    def purchase(self) -> Purchase:
        return Purchase("sub", self.steps)

    def __str__(self) -> str:
        return self.name


def gives(
    units: int,
    every: str = "month",
    *,
    carries: int | None = 0,
    interval: str = "month",
    trial_units: int | None = None,
) -> Price:
    """A price of so many units; `carries` None carries all of them over."""
    included = Included(units, every, carries != 0, carries or None, trial_units)
    return Price((included,), f"P{units}{interval}", interval)


YEAR = "2028-04-01"

PRICE_LISTS = [
    PriceList(
        "assistant in three tiers, upgraded twice",
        {"hobby": gives(100), "pro": gives(500), "max": gives(2000)},
        (
            begin("hobby"),
            always("2027-04-16", price="pro"),
            renew(MAY, JUNE),
            always("2027-05-17", price="max"),
        ),
        (
            Row("2027-04-10", MAY, 100),
            Row("2027-04-16", MAY, 300),  # (100 × 15 + 500 × 15) ÷ 30
            Row("2027-05-17", JUNE, 1226),  # (500 × 16 + 2000 × 15) ÷ 31 = 1225.8…
        ),
    ),
    PriceList(
        "images by the month",
        {"basic": gives(200)},
        (begin("basic"), renew(MAY, JUNE)),
        (
            Row("2027-04-30", MAY, 200),
            Row("2027-05-01 00:30:00", MAY, 200),
            Row("2027-05-01 01:00:00", JUNE, 200),
        ),
    ),
    PriceList(
        "credits that all roll over once",
        {"creator": gives(700, carries=None)},
        (begin("creator"), renew(MAY, JUNE), renew(JUNE, JULY)),
        (Row("2027-04-05", MAY, 700), Row("2027-05-02", JUNE, 700, 700), Row("2027-06-02", JULY, 700, 700)),
    ),
    PriceList(
        "characters of speech, with rollover up to a limit",
        {"creator": gives(30_000, carries=10_000), "pro": gives(100_000, carries=10_000)},
        (begin("creator"), renew(MAY, JUNE), renew(JUNE, JULY), always("2027-06-16", price="pro")),
        (
            Row("2027-05-02", JUNE, 30_000, 10_000),
            Row("2027-06-02", JULY, 30_000, 10_000),
            Row("2027-06-16", JULY, 65_000, 10_000),  # (30 000 × 15 + 100 000 × 15) ÷ 30
        ),
    ),
    PriceList(
        "messages of each month of a year",
        {"yearly": gives(50_000, interval="year")},
        (Begin(utc(APRIL), utc(YEAR), (("a", "yearly", 1),), paid(APRIL)),),
        (
            Row("2027-04-10", MAY, 50_000),
            Row("2027-12-05", "2028-01-01", 50_000),
            Row("2028-03-31", YEAR, 50_000),
        ),
    ),
    PriceList(
        "traffic by the seat, with more seats",
        {"team": gives(100)},
        (begin("team", 5), always("2027-04-11", quantity=8), renew(MAY, JUNE)),
        (
            Row("2027-04-05", MAY, 500),
            Row("2027-04-11", MAY, 700),  # (500 × 10 + 800 × 20) ÷ 30
            Row("2027-05-02", JUNE, 800),
        ),
    ),
    PriceList(
        "build minutes of a period, with a downgrade",
        {"team": gives(3000, "period"), "free": gives(2000, "period")},
        (begin("team"), renew(MAY, JUNE), always("2027-05-17", price="free")),
        (
            Row("2027-04-05", MAY, 3000),
            Row("2027-05-02", JUNE, 3000),
            Row("2027-05-17", JUNE, 2517),  # (3000 × 16 + 2000 × 15) ÷ 31 = 2516.1…
        ),
    ),
    PriceList(
        "searches, upgraded without proration",
        {"small": gives(10_000), "large": gives(30_000)},
        (
            begin("small"),
            Change(utc("2027-04-11"), "a", price="large", proration="none"),
            renew(MAY, JUNE),
            renew(JUNE, JULY),
        ),
        (Row("2027-04-12", MAY, 10_000), Row("2027-05-02", JUNE, 30_000), Row("2027-06-02", JULY, 30_000)),
    ),
    PriceList(
        "requests by the day",
        {"daily": gives(100, "day")},
        (begin("daily"), renew(MAY, JUNE)),
        (
            Row("2027-04-01 12:00:00", "2027-04-02", 100),
            Row("2027-04-30 23:00:00", MAY, 100),
            Row("2027-05-01 02:00:00", "2027-05-02", 100),
        ),
    ),
    PriceList(
        "translation of a period that is paid two days late",
        {"plus": gives(500_000, "period")},
        (begin("plus"), renew(MAY, JUNE, paid("2027-05-03"))),
        (
            Row("2027-04-30", MAY, 500_000),
            Row("2027-05-02", MAY, 500_000),
            Row("2027-05-03", JUNE, 500_000),
        ),
    ),
    PriceList(
        "transcription, with an upgrade for the next period",
        {"pro": gives(300), "business": gives(1200)},
        (begin("pro"), Change(utc(MAY), "a", price="business", proration="none"), renew(MAY, JUNE)),
        (
            Row("2027-04-30", MAY, 300),
            Row("2027-05-01 00:30:00", MAY, 300),
            Row("2027-05-01 01:00:00", JUNE, 1200),
        ),
    ),
    PriceList(
        "posts by the week",
        {"weekly": gives(10, "week")},
        (begin("weekly"), renew(MAY, JUNE)),
        (
            Row("2027-04-10", "2027-04-15", 10),
            Row("2027-05-03", "2027-05-06", 10),
            Row("2027-05-07", "2027-05-13", 10),
        ),
    ),
    PriceList(
        "downloads of fifteen people, with a stock of 120",
        {"stock": gives(10, carries=120)},
        (begin("stock", 15), renew(MAY, JUNE), renew(JUNE, JULY)),
        (Row("2027-04-05", MAY, 150), Row("2027-05-02", JUNE, 150, 120), Row("2027-06-02", JULY, 150, 120)),
    ),
    PriceList(
        "signatures of a year by the seat",
        {"yearly": gives(100, "period", interval="year")},
        (
            Begin(utc(APRIL), utc(YEAR), (("a", "yearly", 3),), paid(APRIL)),
            always("2027-10-01", quantity=5),
        ),
        (
            Row("2027-04-10", YEAR, 300),
            Row("2027-10-01", YEAR, 400),  # (300 × 183 + 500 × 183) ÷ 366
            Row("2028-03-31", YEAR, 400),
        ),
    ),
    PriceList(
        "tasks, upgraded on the last day",
        {"starter": gives(750), "professional": gives(2000)},
        (begin("starter"), always("2027-04-30", price="professional"), renew(MAY, JUNE)),
        (
            Row("2027-04-29", MAY, 750),
            Row("2027-04-30", MAY, 792),  # (750 × 29 + 2000) ÷ 30 = 791.6…
            Row("2027-05-02", JUNE, 2000),
        ),
    ),
    PriceList(
        "pages fetched, from the 31st on",
        {"hobby": gives(100_000)},
        (
            begin("hobby", at="2027-01-31", until="2027-02-28"),
            Renew(utc("2027-02-28"), utc("2027-03-31"), paid("2027-02-28")),
            Renew(utc("2027-03-31"), utc("2027-04-30"), paid("2027-03-31")),
        ),
        (
            Row("2027-02-10", "2027-02-28", 100_000),
            Row("2027-03-15", "2027-03-31", 100_000),
            Row("2027-04-15", "2027-04-30", 100_000),
        ),
    ),
    PriceList(
        "video and images in one plan, of which the videos",
        {"both": Price((Included(500, "month"), Included(20, "month", unit="videos")), "BOTH")},
        (begin("both", 2), always("2027-04-21", quantity=3), renew(MAY, JUNE)),
        (
            Row("2027-04-05", MAY, 40),
            Row("2027-04-21", MAY, 47),  # (40 × 20 + 60 × 10) ÷ 30 = 46.6…
            Row("2027-05-02", JUNE, 60),
        ),
        unit="videos",
    ),
    PriceList(
        "requests to a model by the seat, with fewer seats",
        {"business": gives(300)},
        (begin("business", 10), always("2027-04-11", quantity=7), renew(MAY, JUNE)),
        (
            Row("2027-04-05", MAY, 3000),
            Row("2027-04-11", MAY, 2400),  # (3000 × 10 + 2100 × 20) ÷ 30
            Row("2027-05-02", JUNE, 2100),
        ),
    ),
    PriceList(
        "design, with a trial of its own units",
        {"pro": gives(500, trial_units=50)},
        (trial("pro", until="2027-04-15"), renew("2027-04-15", "2027-05-15")),
        (
            Row("2027-04-10", "2027-04-15", 50),
            Row("2027-04-15 00:30:00", "2027-04-15", 50),
            Row("2027-04-15 02:00:00", "2027-05-15", 500),
        ),
    ),
    PriceList(
        "meeting minutes that roll over, after a trial of all of them",
        {"pro": gives(1200, carries=None)},
        (
            trial("pro", until="2027-04-08"),
            renew("2027-04-08", "2027-05-08"),
            renew("2027-05-08", "2027-06-08"),
        ),
        (
            Row("2027-04-05", "2027-04-08", 1200),
            Row("2027-04-10", "2027-05-08", 1200),
            Row("2027-05-10", "2027-06-08", 1200, 1200),
        ),
    ),
    PriceList(
        "calls by the day for two places, with one less at noon",
        {"developer": gives(1000, "day")},
        (begin("developer", 2), Change(utc("2027-04-10 12:00:00"), "a", quantity=1, proration="none")),
        (
            Row("2027-04-09 12:00:00", "2027-04-10", 2000),
            Row("2027-04-10 12:00:00", "2027-04-11", 1500),
            Row("2027-04-11 12:00:00", "2027-04-12", 1000),
        ),
    ),
    PriceList(
        "text messages by the week that roll over",
        {"growth": gives(500, "week", carries=None)},
        (begin("growth"),),
        (
            Row("2027-04-03", "2027-04-08", 500),
            Row("2027-04-10", "2027-04-15", 500, 500),
            Row("2027-04-20", "2027-04-22", 500, 500),
        ),
    ),
    PriceList(
        "pages of fax, while invoices stay drafts",
        {"solo": gives(200)},
        (begin("solo"), Pause(utc("2027-04-21"), "keep_as_draft"), renew(MAY, JUNE, Bill())),
        (Row("2027-04-30", MAY, 200), Row(MAY, JUNE, 200), Row("2027-05-20", JUNE, 200)),
    ),
    PriceList(
        "cut-outs, with a stock larger than a month",
        {"subscription": gives(40, carries=200)},
        (begin("subscription"), renew(MAY, JUNE), renew(JUNE, JULY)),
        (Row("2027-04-05", MAY, 40), Row("2027-05-02", JUNE, 40, 40), Row("2027-06-02", JULY, 40, 40)),
    ),
    PriceList(
        "songs by the day, of which two may wait",
        {"library": gives(4, "day", carries=2)},
        (begin("library"),),
        (
            Row("2027-04-01 12:00:00", "2027-04-02", 4),
            Row("2027-04-02 12:00:00", "2027-04-03", 4, 2),
            Row("2027-04-20 12:00:00", "2027-04-21", 4, 2),
        ),
    ),
    PriceList(
        "hours of podcast, with a downgrade in the middle",
        {"pro": gives(6), "basic": gives(3)},
        (begin("pro"), always("2027-04-16", price="basic"), renew(MAY, JUNE)),
        (
            Row("2027-04-05", MAY, 6),
            Row("2027-04-16", MAY, 5),  # (6 × 15 + 3 × 15) ÷ 30 = 4.5
            Row("2027-05-02", JUNE, 3),
        ),
    ),
    PriceList(
        "responses to surveys, canceled at the end of the period",
        {"plus": gives(1000)},
        (begin("plus"), Cancel(utc("2027-04-11"), at_period_end=True), Cancel(utc(MAY))),
        (Row("2027-04-05", MAY, 1000), Row("2027-04-30 23:59:59", MAY, 1000), Row(MAY, None)),
    ),
    PriceList(
        "tokens, from a month to a year with credit",
        {"monthly": gives(1000), "yearly": gives(1200, interval="year")},
        (
            begin("monthly"),
            Reset(utc("2027-04-11"), utc("2028-04-11"), paid("2027-04-11"), item="a", price="yearly"),
        ),
        (
            Row("2027-04-10", MAY, 1000),
            Row("2027-04-11", "2027-05-11", 1200),
            Row("2027-05-12", "2027-06-11", 1200),
        ),
    ),
    PriceList(
        "classes, with a payment that fails at first",
        {"regular": gives(8, carries=4)},
        (begin("regular"), renew(MAY, JUNE, paid("2027-05-11", failed="2027-05-01 01:00:00"))),
        (Row("2027-04-05", MAY, 8), Row("2027-05-03", MAY, 8), Row("2027-05-11", JUNE, 8, 4)),
    ),
    PriceList(
        "lessons of a school, with two more places",
        {"school": gives(10)},
        (begin("school", 3), always("2027-04-11", quantity=5), renew(MAY, JUNE)),
        (
            Row("2027-04-05", MAY, 30),
            Row("2027-04-11", MAY, 44),  # (30 × 10 + 50 × 20) ÷ 30 = 43.3…
            Row("2027-05-02", JUNE, 50),
        ),
    ),
]
