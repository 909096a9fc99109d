"""Changes of plan, quantity and interval, in figures worked out by hand.

April has 30 days, May 31, June 30. Sizes are of whole days, so that a share of a window is a fraction of its
days.
"""

from __future__ import annotations

from tests.properties.included.case import left, nothing, refused, release, reserve, shows, use
from tests.properties.included.plans import APRIL, JULY, JUNE, MAY, always, begin, case, paid, renew, sub
from tests.properties.included.purchase import Add, Begin, Bill, Change, Purchase, Remove, Reset, Swap, utc

CASES = [
    # --- nothing special --------------------------------------------------------------------------
    case(
        "a month, and the hour before the next is paid",
        sub(begin("basic"), renew(MAY, JUNE)),
        use("2027-04-10", 400, left=600),
        refused("2027-04-11", 700, left=600),
        # May has begun and is not paid yet: what is left of April's stays.
        use("2027-05-01 00:30:00", 100, left=500),
        shows("2027-05-01 00:59:59", APRIL, MAY, granted=1000, used=500, left=500),
        # Paid: 1000 anew, and April's 500 are gone.
        shows("2027-05-01 01:00:00", MAY, JUNE, granted=1000, left=1000, forfeited=500),
        use("2027-05-31 23:00:00", 1000, left=0),
    ),
    case(
        "days and their last second",
        sub(begin("daily"), renew(MAY, JUNE)),
        use("2027-04-01 23:59:59", 100, left=0),
        refused("2027-04-01 23:59:59", 1, left=0),
        use("2027-04-02", 40, left=60),
        # The last day of April stays, until May is paid, with the 60 less 10 that are left of it.
        use("2027-04-30 12:00:00", 40, left=60),
        use("2027-05-01 00:10:00", 10, left=50),
        shows("2027-05-01 01:00:00", MAY, "2027-05-02", granted=100, left=100, forfeited=50),
    ),
    case(
        "months of a year from the 31st",
        Purchase(
            "sub",
            (
                Begin(
                    utc("2027-01-31 10:00:00"),
                    utc("2028-01-31 10:00:00"),
                    (("a", "basic_year", 1),),
                    paid("2027-01-31 10:00:00"),
                ),
            ),
        ),
        use("2027-02-01", 1000, left=0),
        refused("2027-02-28 09:59:59", 1, left=0),
        shows("2027-02-28 10:00:00", "2027-02-28 10:00:00", "2027-03-31 10:00:00", granted=1000, left=1000),
        shows(
            "2027-03-31 10:00:00",
            "2027-03-31 10:00:00",
            "2027-04-30 10:00:00",
            granted=1000,
            left=1000,
            forfeited=1000,
        ),
        shows(
            "2027-12-31 10:00:00",
            "2027-12-31 10:00:00",
            "2028-01-31 10:00:00",
            granted=1000,
            left=1000,
            forfeited=1000,
        ),
    ),
    # --- monthly and yearly, to and fro -----------------------------------------------------------
    case(
        "to a year and back the day after, each with credit",
        sub(
            begin("basic"),
            Reset(utc("2027-04-11"), utc("2028-04-11"), paid("2027-04-11"), item="a", price="basic_year"),
            Reset(utc("2027-04-12"), utc("2027-05-12"), paid("2027-04-12"), item="a", price="basic"),
        ),
        use("2027-04-05", 900, left=100),
        # 10 of 30 days: ⌊1000 × 10 ÷ 30⌋ = 333 were earned; 900 − 333 = 567 come off 1000.
        shows("2027-04-11", "2027-04-11", "2027-05-11", granted=433, overdrawn=567, left=433, forfeited=100),
        use("2027-04-11 12:00:00", 433, left=0),
        # 1 of 30 days (11 April to 11 May): ⌊1000 ÷ 30⌋ = 33 earned; taken were 433 + 567 = 1000.
        shows("2027-04-12", "2027-04-12", "2027-05-12", granted=33, overdrawn=967, left=33),
        use("2027-04-12 00:00:01", 33, left=0),
    ),
    case(
        "to a year without credit: what was paid twice is had twice",
        sub(
            begin("basic"),
            Reset(
                utc("2027-04-11"),
                utc("2028-04-11"),
                paid("2027-04-11"),
                credit=False,
                item="a",
                price="basic_year",
            ),
        ),
        use("2027-04-05", 900, left=100),
        shows("2027-04-11", "2027-04-11", "2027-05-11", granted=1000, left=1000, forfeited=100),
    ),
    case(
        "to a year without credit, on whose invoice the credit of another change is",
        sub(
            begin("basic"),
            Change(utc("2027-04-06"), "a", price="three"),
            Reset(
                utc("2027-04-16"),
                utc("2028-04-16"),
                paid("2027-04-16"),
                credit=False,
                item="a",
                price="basic_year",
            ),
        ),
        use("2027-04-05", 900, left=100),
        shows("2027-04-16", "2027-04-16", "2027-05-16", granted=1000, left=1000),
    ),
    case(
        "to a year with credit by one who used little",
        sub(
            begin("basic"),
            Reset(utc("2027-04-16"), utc("2028-04-16"), paid("2027-04-16"), item="a", price="basic_year"),
        ),
        use("2027-04-05", 499, left=501),
        # ⌊1000 × 15 ÷ 30⌋ = 500 were earned, of which 499 are used: nothing comes off.
        shows("2027-04-16", "2027-04-16", "2027-05-16", granted=1000, left=1000, forfeited=501),
    ),
    case(
        "to a year with credit, and with rollover only of what was earned",
        sub(
            begin("rolling_all"),
            Reset(utc("2027-04-16"), utc("2027-05-16"), paid("2027-04-16")),
        ),
        use("2027-04-05", 100, left=900),
        # ⌊1000 × 15 ÷ 30⌋ = 500 earned, less 100 used: 400 are carried. The 500 of the credit are not.
        shows("2027-04-16", "2027-04-16", "2027-05-16", granted=1000, carried=400, left=1400, forfeited=500),
    ),
    case(
        "to a year, whose invoice is paid five days late",
        sub(
            begin("basic"),
            Reset(
                utc("2027-04-11"),
                utc("2028-04-11"),
                paid("2027-04-16", failed="2027-04-11"),
                item="a",
                price="basic_year",
            ),
        ),
        use("2027-04-05", 300, left=700),
        # Not paid: April's window goes on, for the three days of grace and as long as it was paid for.
        use("2027-04-13", 200, left=500),
        # 10 of 30 days up to the new period: 333 earned, 500 used: 167 come off.
        shows("2027-04-16", "2027-04-11", "2027-05-11", granted=833, overdrawn=167, left=833, forfeited=500),
    ),
    case(
        "days, whose cycle begins anew with an invoice that is paid two days late",
        sub(
            begin("daily"),
            Reset(
                utc("2027-04-10 12:00:00"),
                utc("2027-05-10 12:00:00"),
                paid("2027-04-12 06:00:00", failed="2027-04-10 12:00:00"),
            ),
        ),
        # Not paid: the days of April go on.
        use("2027-04-11 01:00:00", 100, left=0),
        use("2027-04-12 01:00:00", 80, left=20),
        # The day that was running began when its time was given back already: all of its use comes off.
        shows(
            "2027-04-12 06:00:00",
            "2027-04-11 12:00:00",
            "2027-04-12 12:00:00",
            granted=20,
            overdrawn=80,
            left=20,
        ),
        use("2027-04-12 07:00:00", 20, left=0),
        shows("2027-04-12 12:00:00", "2027-04-12 12:00:00", "2027-04-13 12:00:00", granted=100, left=100),
    ),
    # --- quantity ---------------------------------------------------------------------------------
    case(
        "1 → 100 → 1, each prorated at once",
        sub(
            begin("basic"),
            always("2027-04-02", quantity=100),
            always("2027-04-03", quantity=1),
            renew(MAY, JUNE),
            renew(JUNE, JULY),
        ),
        use("2027-04-01 12:00:00", 500, left=500),
        # (1000 × 1 day + 100 000 × 29 days) ÷ 30 = 2 901 000 ÷ 30 = 96 700.
        use("2027-04-02 12:00:00", 89_500, left=6_700),
        # (1000 × 1 + 100 000 × 1 + 1000 × 28) ÷ 30 = 129 000 ÷ 30 = 4300; 90 000 are used.
        shows("2027-04-03", APRIL, MAY, granted=90_000, used=90_000, left=0),
        refused("2027-04-20", 1, left=0),
        # 90 000 − 4300 = 85 700 come off May, of which it is 1000; the other 84 700 off June.
        shows("2027-05-02", MAY, JUNE, granted=0, overdrawn=85_700, left=0),
        shows("2027-06-02", JUNE, JULY, granted=0, overdrawn=84_700, left=0),
    ),
    case(
        "1 → 100 → 1, and what was reserved of the hundred comes back",
        sub(
            begin("basic"),
            always("2027-04-02", quantity=100),
            always("2027-04-03", quantity=1),
        ),
        reserve("2027-04-02 12:00:00", "work", 5000, left=91_700, hours=24),
        # (1000 × 1 + 100 000 × 1 + 1000 × 28) ÷ 30 = 4300, and 5000 are reserved.
        shows("2027-04-03", APRIL, MAY, granted=5000, reserved=5000, left=0),
        release("2027-04-03 06:00:00", "work", left=4300),
        shows("2027-04-03 06:00:00", APRIL, MAY, granted=4300, left=4300),
    ),
    case(
        "1 → 100 → 1 with the next invoice: no rise is paid, so there is none",
        sub(
            begin("basic"),
            Change(utc("2027-04-02"), "a", quantity=100),
            Change(utc("2027-04-03"), "a", quantity=1),
            renew(MAY, JUNE),
        ),
        refused("2027-04-02 12:00:00", 1001, left=1000),
        use("2027-04-02 12:00:00", 600, left=400),
        shows("2027-04-03", APRIL, MAY, granted=1000, used=600, left=400),
        shows("2027-05-02", MAY, JUNE, granted=1000, left=1000, forfeited=400),
    ),
    case(
        "more seats without proration count from the next period",
        sub(
            begin("basic", 2),
            Change(utc("2027-04-11"), "a", quantity=5, proration="none"),
            renew(MAY, JUNE),
        ),
        shows("2027-04-12", APRIL, MAY, granted=2000, left=2000),
        shows("2027-05-01 01:00:00", MAY, JUNE, granted=5000, left=5000, forfeited=2000),
    ),
    case(
        "more seats that are not paid, and fewer again but more than before",
        sub(
            begin("basic", 2),
            Change(utc("2027-04-11"), "a", quantity=5, proration="none"),
            Change(utc("2027-04-16"), "a", quantity=3, proration="none"),
            Change(utc("2027-04-21"), "a", quantity=1, proration="none"),
            renew(MAY, JUNE),
        ),
        shows("2027-04-16", APRIL, MAY, granted=2000, left=2000),
        # 2 seats for 20 days, 1 for 10: (2000 × 20 + 1000 × 10) ÷ 30 = 1666.6… → 1667.
        shows("2027-04-21", APRIL, MAY, granted=1667, left=1667),
    ),
    case(
        "a rise whose invoice fails, and is paid five days later",
        sub(
            begin("basic"),
            always("2027-04-11", quantity=4, bill=paid("2027-04-16", failed="2027-04-11")),
        ),
        use("2027-04-05", 800, left=200),
        shows("2027-04-15 23:59:59", APRIL, MAY, granted=1000, used=800, left=200),
        # From the 11th on, as the invoice says: (1000 × 10 + 4000 × 20) ÷ 30 = 3000.
        shows("2027-04-16", APRIL, MAY, granted=3000, used=800, left=2200),
    ),
    case(
        "a rise on the next invoice is paid by one that is made before",
        sub(
            begin("basic"),
            Change(utc("2027-04-11"), "a", quantity=2),
            always("2027-04-21", quantity=3),
        ),
        shows("2027-04-20", APRIL, MAY, granted=1000, left=1000),
        # The invoice of the 21st has the lines of both: (1000 × 10 + 2000 × 10 + 3000 × 10) ÷ 30 = 2000.
        shows("2027-04-21", APRIL, MAY, granted=2000, left=2000),
    ),
    case(
        "no seats, and seats again",
        sub(
            begin("basic", 2),
            always("2027-04-11", quantity=0),
            always("2027-04-21", quantity=2),
        ),
        use("2027-04-05", 300, left=1700),
        nothing("2027-04-15"),
        refused("2027-04-15", 1, left=0),
        # (2000 × 10 + 0 × 10 + 2000 × 10) ÷ 30 = 1333.3… → 1334; 1034 left.
        shows("2027-04-21", APRIL, MAY, granted=1334, used=300, left=1034),
    ),
    case(
        "months of no seats, and what was left before them",
        sub(
            begin("rolling"),
            Change(utc(MAY), "a", quantity=0, proration="none"),
            renew(MAY, JUNE, Bill(free=True)),
            renew(JUNE, JULY, Bill(free=True)),
            always("2027-06-16", quantity=1),
        ),
        use("2027-04-05", 100, left=900),
        nothing("2027-05-20"),
        # 15 of 30 days. What was left of April ended with May, which gave nothing.
        shows("2027-06-16", JUNE, JULY, granted=500, left=500),
    ),
    # --- other plans ------------------------------------------------------------------------------
    case(
        "an upgrade on the last day",
        sub(begin("basic"), always("2027-04-30", price="big"), renew(MAY, JUNE)),
        use("2027-04-29", 1000, left=0),
        # (1000 × 29 + 10 000 × 1) ÷ 30 = 1300.
        use("2027-04-30", 300, left=0),
        refused("2027-04-30 23:59:59", 1, left=0),
        shows("2027-05-01 01:00:00", MAY, JUNE, granted=10_000, left=10_000),
    ),
    case(
        "an upgrade in the last second",
        sub(begin("basic"), always("2027-04-30 23:59:59", price="big"), renew(MAY, JUNE)),
        # 1000 + 9000 × 1 s ÷ 2 592 000 s = 1000.0035 → 1001.
        use("2027-04-30 23:59:59", 1001, left=0),
    ),
    case(
        "a downgrade that was scheduled for the end of the period",
        sub(
            begin("basic"),
            Change(utc(MAY), "a", price="small", proration="none"),
            renew(MAY, JUNE),
        ),
        use("2027-04-30", 300, left=700),
        # April's window is as it was, up to its end and in the hour after it.
        use("2027-05-01 00:30:00", 700, left=0),
        shows("2027-05-01 01:00:00", MAY, JUNE, granted=100, left=100),
    ),
    case(
        "a downgrade within the month",
        sub(begin("basic"), always("2027-04-16", price="small"), renew(MAY, JUNE)),
        use("2027-04-05", 200, left=800),
        # (1000 × 15 + 100 × 15) ÷ 30 = 550.
        shows("2027-04-16", APRIL, MAY, granted=550, used=200, left=350),
        refused("2027-04-17", 351, left=350),
        shows("2027-05-02", MAY, JUNE, granted=100, left=100, forfeited=350),
    ),
    case(
        "a downgrade by one who has used too much",
        sub(begin("basic"), always("2027-04-16", price="small"), renew(MAY, JUNE), renew(JUNE, JULY)),
        use("2027-04-05", 600, left=400),
        shows("2027-04-16", APRIL, MAY, granted=600, used=600, left=0),
        # 600 − 550 = 50 come off May, and nothing off June.
        shows("2027-05-02", MAY, JUNE, granted=50, overdrawn=50, left=50),
        shows("2027-06-02", JUNE, JULY, granted=100, left=100, forfeited=50),
    ),
    case(
        "an item takes another's place",
        sub(
            begin("basic"),
            Swap(utc("2027-04-16"), "a", "b", "three", 1, "always", paid("2027-04-16")),
            renew(MAY, JUNE),
        ),
        use("2027-04-05", 900, left=100),
        # One window, under the old item: (1000 × 15 + 3000 × 15) ÷ 30 = 2000.
        shows("2027-04-16", APRIL, MAY, granted=2000, used=900, left=1100),
        nothing("2027-04-16", item="b"),
        shows("2027-05-02", MAY, JUNE, granted=3000, left=3000, forfeited=1100),
    ),
    case(
        "an item takes another's place, there and back, without proration",
        sub(
            begin("three"),
            Swap(utc("2027-04-11"), "a", "b", "basic", 1, "none"),
            Swap(utc("2027-04-21"), "b", "c", "three", 1, "none"),
            renew(MAY, JUNE),
        ),
        # (3000 × 10 + 1000 × 20) ÷ 30 = 1666.6… → 1667: the way back is a rise that nobody paid.
        shows("2027-04-22", APRIL, MAY, granted=1667, left=1667),
        shows("2027-05-02", MAY, JUNE, granted=3000, left=3000, forfeited=1667),
    ),
    case(
        "an item of another unit takes its place",
        sub(
            begin("basic"),
            Swap(utc("2027-04-16"), "a", "b", "storage", 1, "none"),
            renew(MAY, JUNE),
        ),
        use("2027-04-05", 100, left=900),
        nothing("2027-04-16"),
        left("2027-04-16", 0),
        left("2027-04-16", 0, unit="gigabytes"),
        # The new item opens with its first paid period.
        shows("2027-05-02", MAY, JUNE, granted=50, left=50, item="b", unit="gigabytes"),
    ),
    case(
        "one more item, prorated at once, and gone again",
        sub(
            begin("basic"),
            Add(utc("2027-04-21"), "b", "three", 1, "always", paid("2027-04-21")),
            renew(MAY, JUNE),
            Remove(utc("2027-05-11"), "b"),
        ),
        nothing("2027-04-20", item="b"),
        # 10 of 30 days of 3000.
        shows("2027-04-21", APRIL, MAY, granted=1000, left=1000, item="b"),
        left("2027-04-21", 2000),
        left("2027-05-02", 4000),
        nothing("2027-05-11", item="b"),
        left("2027-05-11", 1000),
    ),
    case(
        "one more item on the next invoice",
        sub(begin("basic"), Add(utc("2027-04-21"), "b", "three"), renew(MAY, JUNE)),
        left("2027-04-22", 1000),
        left("2027-05-01 01:00:00", 4000),
    ),
    case(
        "two units, each by itself",
        sub(begin("both"), always("2027-04-16", quantity=2), renew(MAY, JUNE)),
        use("2027-04-05", 20, left=0, unit="videos"),
        use("2027-04-05", 50, left=150),
        # (200 × 15 + 400 × 15) ÷ 30 = 300, and (20 × 15 + 40 × 15) ÷ 30 = 30.
        shows("2027-04-16", APRIL, MAY, granted=300, used=50, left=250),
        shows("2027-04-16", APRIL, MAY, granted=30, used=20, left=10, unit="videos"),
    ),
]
