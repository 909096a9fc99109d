"""Ends, trials, payments, weeks, rollover and packs, in figures worked out by hand.

April has 30 days, May 31, June 30. Sizes are of whole days, so that a share of a window is a fraction of its
days.
"""

from __future__ import annotations

from tests.properties.included.case import Case, commit, left, nothing, refused, release, reserve, shows, use
from tests.properties.included.plans import (
    APRIL,
    JULY,
    JUNE,
    MAY,
    PRICES,
    always,
    begin,
    case,
    paid,
    renew,
    sub,
    trial,
)
from tests.properties.included.purchase import (
    Begin,
    Bill,
    Cancel,
    Change,
    Pack,
    Pause,
    Purchase,
    Renew,
    Reset,
    TrialUntil,
    utc,
)

CASES = [
    # --- to leave and come back -------------------------------------------------------------------
    Case(
        "cancel and resubscribe",
        PRICES,
        (
            sub(begin("basic"), Cancel(utc("2027-04-11"))),
            sub(begin("basic", at="2027-04-12", until="2027-05-12"), name="again"),
        ),
        (
            use("2027-04-05", 1000, left=0),
            nothing("2027-04-11"),
            left("2027-04-11", 0),
            # It is paid for anew, and owes nothing.
            shows("2027-04-12", "2027-04-12", "2027-05-12", granted=1000, left=1000, purchase="again"),
        ),
    ),
    case(
        "a cancel at the end of the period",
        sub(begin("basic"), Cancel(utc("2027-04-11"), at_period_end=True), Cancel(utc(MAY))),
        use("2027-04-30 23:59:59", 400, left=600),
        nothing(MAY),
        refused(MAY, 1, left=0),
    ),
    # --- trials -----------------------------------------------------------------------------------
    Case(
        "two trials at once",
        PRICES,
        (
            sub(trial("basic", until="2027-04-15")),
            sub(trial("basic", at="2027-04-03", until="2027-04-10"), name="second"),
        ),
        (
            left("2027-04-02", 50),
            left("2027-04-03", 100),
            # The one that ends on the 10th first.
            use("2027-04-04", 60, left=40),
            shows("2027-04-04", "2027-04-03", "2027-04-10", granted=50, used=50, left=0, purchase="second"),
            shows("2027-04-04", APRIL, "2027-04-15", granted=50, used=10, left=40),
        ),
    ),
    case(
        "a trial, the hour after it, and what follows",
        sub(trial("rolling_all", 2, until="2027-04-15"), renew("2027-04-15", "2027-05-15")),
        # 50 for each of two.
        use("2027-04-05", 20, left=80),
        use("2027-04-15 00:30:00", 10, left=70),
        # Nothing is carried out of a trial.
        shows("2027-04-15 01:00:00", "2027-04-15", "2027-05-15", granted=2000, left=2000, forfeited=70),
    ),
    case(
        "a hundred seats in a trial: nothing is paid for them",
        sub(trial("basic", until="2027-04-15"), Change(utc("2027-04-02"), "a", quantity=100)),
        refused("2027-04-03", 51, left=50),
    ),
    case(
        "a trial that is made longer and then ended",
        sub(
            trial("basic", until="2027-04-08"),
            TrialUntil(utc("2027-04-06"), utc("2027-04-15")),
            TrialUntil(utc("2027-04-10"), utc("2027-04-10")),
            renew("2027-04-10", "2027-05-10", paid("2027-04-10")),
        ),
        use("2027-04-05", 30, left=20),
        # The same window, which ends later.
        shows("2027-04-06", APRIL, "2027-04-15", granted=50, used=30, left=20),
        shows("2027-04-10", "2027-04-10", "2027-05-10", granted=1000, left=1000, forfeited=20),
    ),
    case(
        "a trial that is ended early, and a new period with more credit than charges",
        sub(
            trial("basic", 3, until="2027-04-20"),
            TrialUntil(utc("2027-04-05"), utc("2027-04-05")),
            renew("2027-04-05", "2027-05-05", paid("2027-04-05")),
            Reset(utc("2027-04-10"), utc("2027-05-10"), paid("2027-04-10"), item="a", quantity=1),
        ),
        shows("2027-04-06", "2027-04-05", "2027-05-05", granted=3000, left=3000),
        # Nothing is due on its invoice, and it is no trial: the one that was planned is over.
        shows("2027-04-10", "2027-04-10", "2027-05-10", granted=1000, left=1000),
    ),
    case(
        "a trial that nobody pays for",
        sub(
            trial("basic", until="2027-04-15"),
            renew("2027-04-15", "2027-05-15", Bill(failed=utc("2027-04-15 01:00:00"))),
        ),
        left("2027-04-15 00:59:59", 50),
        # There is no grace for what was never paid for.
        left("2027-04-15 01:00:00", 0),
    ),
    # --- late, failed, paused, given back ---------------------------------------------------------
    case(
        "a payment that comes after grace",
        sub(
            begin("basic"),
            renew(MAY, JUNE, paid("2027-05-11", failed="2027-05-01 01:00:00")),
            renew(JUNE, JULY),
        ),
        use("2027-04-30", 900, left=100),
        # Grace of three days: nothing new opens.
        use("2027-05-03", 40, left=60),
        refused("2027-05-03", 61, left=60),
        left("2027-05-04 00:59:59", 60),
        nothing("2027-05-04 01:00:00"),
        refused("2027-05-10", 1, left=0),
        # Paid: the window of May, whole.
        shows("2027-05-11", MAY, JUNE, granted=1000, left=1000, forfeited=60),
        shows("2027-06-02", JUNE, JULY, granted=1000, left=1000, forfeited=1000),
    ),
    case(
        "days in grace",
        sub(begin("daily"), renew(MAY, JUNE, paid("2027-05-04", failed="2027-05-01 01:00:00"))),
        use("2027-04-30", 30, left=70),
        # The last day that was paid for, with what is left of it.
        use("2027-05-02 12:00:00", 20, left=50),
        refused("2027-05-03 12:00:00", 51, left=50),
        shows("2027-05-04", "2027-05-04", "2027-05-05", granted=100, left=100, forfeited=50),
    ),
    case(
        "months of a paid year while the invoice of a seat fails",
        Purchase(
            "sub",
            (
                Begin(utc(APRIL), utc("2028-04-01"), (("a", "basic_year", 1),), paid(APRIL)),
                always("2027-04-11", quantity=2, bill=Bill(failed=utc("2027-04-11"))),
            ),
        ),
        use("2027-04-20", 1000, left=0),
        # The year is paid: its months open. The seat is not.
        shows("2027-05-01", MAY, JUNE, granted=1000, left=1000),
    ),
    case(
        "a year whose invoice is paid in its second month",
        Purchase(
            "sub",
            (
                Begin(utc("2026-04-01"), utc(APRIL), (("a", "rolling_year", 1),), paid("2026-04-01")),
                Renew(utc(APRIL), utc("2028-04-01"), paid("2027-05-11")),
            ),
        ),
        use("2027-03-10", 900, left=600),  # of 1000 and 500 that are carried from February
        # Between the years: what is left of March, which is 1000 − 400.
        use("2027-04-20", 100, left=500),
        # April's window was over when it was paid: it never opened. Of March 500 are left and carried.
        shows("2027-05-11", MAY, JUNE, granted=1000, carried=500, left=1500),
    ),
    case(
        "a month that is paid when it is over",
        sub(
            begin("basic"),
            renew(MAY, JUNE, paid("2027-06-10")),
            renew(JUNE, JULY, paid("2027-07-10")),
        ),
        use("2027-04-20", 950, left=50),
        use("2027-05-20", 30, left=20),
        # What was paid for last is May: it opens now, and stays until June is paid.
        shows("2027-06-10", MAY, JUNE, granted=1000, left=1000, forfeited=20),
    ),
    case(
        "months that are each paid when they are over, with rollover",
        sub(
            begin("rolling"),
            renew(MAY, JUNE, paid("2027-06-10")),
            renew(JUNE, JULY, paid("2027-07-10")),
            renew(JULY, "2027-08-01", paid("2027-08-10")),
        ),
        use("2027-04-20", 950, left=50),
        # The month of May, and the 50 of April.
        use("2027-06-20", 900, left=150),
        # The month of June, and the 150 that are left of May.
        shows("2027-07-10", JUNE, JULY, granted=1000, carried=150, left=1150),
    ),
    case(
        "payments are not collected, and void",
        sub(
            begin("basic"),
            Pause(utc("2027-04-21"), "void"),
            renew(MAY, JUNE, Bill(voided=utc(MAY))),
            Pause(utc("2027-05-11"), None),
            renew(JUNE, JULY),
        ),
        use("2027-04-05", 300, left=700),
        nothing("2027-04-21"),
        refused("2027-05-05", 1, left=0),
        # May was not paid: April's last window goes on, with what is left in it.
        use("2027-05-12", 100, left=600),
        shows("2027-06-02", JUNE, JULY, granted=1000, left=1000, forfeited=600),
    ),
    case(
        "payments are not collected, and drafts are kept",
        sub(
            begin("basic"),
            Pause(utc("2027-04-21"), "keep_as_draft"),
            renew(MAY, JUNE, Bill()),
            Pause(utc("2027-05-11"), None),
        ),
        use("2027-04-05", 300, left=700),
        # It counts as paid when it begins.
        shows(MAY, MAY, JUNE, granted=1000, left=1000, forfeited=700),
        use("2027-05-20", 1000, left=0),
    ),
    case(
        "a pause that begins in a period that is not paid, with another change in it",
        sub(
            begin("basic"),
            renew(MAY, JUNE, Bill()),
            Pause(utc("2027-05-02"), "keep_as_draft"),
            Cancel(utc("2027-05-03"), at_period_end=True),
        ),
        use("2027-04-05", 300, left=700),
        # May began before the pause and is not paid: April's window goes on.
        shows("2027-05-03 12:00:00", APRIL, MAY, granted=1000, used=300, left=700),
    ),
    case(
        "the period's invoice is given back",
        sub(
            Begin(utc(APRIL), utc(MAY), (("a", "basic", 1),), paid(APRIL, refunded="2027-04-11")),
            renew(MAY, JUNE),
        ),
        use("2027-04-05", 300, left=750),
        left("2027-04-10 23:59:59", 750),
        nothing("2027-04-11"),
        # The pack stands by itself.
        use("2027-04-12", 20, left=30),
        shows("2027-05-02", MAY, JUNE, granted=1000, left=1000, forfeited=700),
        packs=(Pack("pack", 50, utc(APRIL)),),
    ),
    case(
        "an upgrade is used and then given back",
        sub(
            begin("basic"),
            always("2027-04-11", quantity=4, bill=paid("2027-04-11", refunded="2027-04-16")),
            renew(MAY, JUNE),
        ),
        use("2027-04-12", 2500, left=500),  # of (1000 × 10 + 4000 × 20) ÷ 30 = 3000
        # As if it had never been paid, and nothing below what is used.
        shows("2027-04-16", APRIL, MAY, granted=2500, used=2500, left=0),
        # May is of the four seats of its own line, less 2500 − 1000 = 1500.
        shows("2027-05-02", MAY, JUNE, granted=2500, overdrawn=1500, left=2500),
    ),
    case(
        "an upgrade is given back unused",
        sub(
            begin("basic"),
            always("2027-04-11", quantity=4, bill=paid("2027-04-11", refunded="2027-04-16")),
        ),
        use("2027-04-12", 400, left=2600),
        shows("2027-04-16", APRIL, MAY, granted=1000, used=400, left=600),
    ),
    # --- years ------------------------------------------------------------------------------------
    case(
        "more seats within a year",
        Purchase(
            "sub",
            (
                Begin(utc(APRIL), utc("2028-04-01"), (("a", "basic_year", 1),), paid(APRIL)),
                Change(utc("2027-04-16"), "a", quantity=9, proration="none"),
                always("2027-05-17", quantity=3),
                Change(utc("2027-07-11"), "a", quantity=1),
            ),
        ),
        left("2027-04-20", 1000),
        # A later month begins with what counts, which the nine seats do not.
        shows("2027-05-02", MAY, JUNE, granted=1000, left=1000, forfeited=1000),
        # From 17 May 3 seats: (1000 × 16 + 3000 × 15) ÷ 31 = 61 000 ÷ 31 = 1967.7… → 1968.
        shows("2027-05-20", MAY, JUNE, granted=1968, left=1968, forfeited=1000),
        shows("2027-06-02", JUNE, JULY, granted=3000, left=3000, forfeited=1968),
        # A fall counts at once: (3000 × 10 + 1000 × 21) ÷ 31 = 51 000 ÷ 31 = 1645.1… → 1646.
        shows("2027-07-11", JULY, "2027-08-01", granted=1646, left=1646, forfeited=3000),
        left("2027-08-02", 1000),
    ),
    case(
        "a year in one window",
        Purchase(
            "sub",
            (
                Begin(utc(APRIL), utc("2028-04-01"), (("a", "whole_year", 1),), paid(APRIL)),
                Reset(utc("2027-04-02"), utc("2027-05-02"), paid("2027-04-02"), item="a", price="basic"),
            ),
        ),
        use("2027-04-01", 1500, left=10_500),
        # 1 of 366 days: ⌊12 000 ÷ 366⌋ = 32 earned; 1468 come off the month of 1000.
        shows("2027-04-02", "2027-04-02", "2027-05-02", granted=0, overdrawn=1468, left=0, forfeited=10_500),
    ),
    # --- weeks ------------------------------------------------------------------------------------
    case(
        "a week that runs into the next month at another price",
        sub(
            begin("weekly"),
            Change(utc(MAY), "a", price="weekly_double", proration="none"),
            renew(MAY, JUNE),
        ),
        use("2027-04-08", 70, left=0),
        shows("2027-04-29", "2027-04-29", "2027-05-06", granted=70, left=70, forfeited=70),
        use("2027-04-30", 60, left=10),
        left("2027-05-01 00:59:59", 10),
        # Two days of 70 and five of 140: (70 × 2 + 140 × 5) ÷ 7 = 120.
        shows("2027-05-01 01:00:00", "2027-04-29", "2027-05-06", granted=120, used=60, left=60, forfeited=70),
        shows("2027-05-06", "2027-05-06", "2027-05-13", granted=140, left=140, forfeited=60),
    ),
    case(
        "a week after a month that was not paid",
        sub(
            begin("weekly"),
            Pause(utc("2027-04-30"), "void"),
            renew(MAY, JUNE, Bill(voided=utc(MAY))),
            Pause(utc("2027-05-31"), None),
            renew(JUNE, JULY, paid(JUNE)),
        ),
        # Weeks begin on 27 May and 3 June. May was not paid: the week is cut on the left, and is whole.
        shows(JUNE, JUNE, "2027-06-03", granted=70, left=70, forfeited=70),
        shows("2027-06-03", "2027-06-03", "2027-06-10", granted=70, left=70, forfeited=70),
    ),
    # --- rollover and reservations ----------------------------------------------------------------
    case(
        "rollover is once, and at most 500",
        sub(begin("rolling"), renew(MAY, JUNE, paid(MAY)), renew(JUNE, JULY, paid(JUNE))),
        use("2027-04-05", 200, left=800),
        shows(MAY, MAY, JUNE, granted=1000, carried=500, left=1500, forfeited=300),
        # The carried ones first: 500, and 100 of May.
        use("2027-05-10", 600, left=900),
        shows("2027-05-10", MAY, JUNE, granted=1000, used=100, left=900, forfeited=300),
        shows(JUNE, JUNE, JULY, granted=1000, carried=500, left=1500, forfeited=400),
        use("2027-06-02", 100, left=1400),
        shows("2027-06-02", JUNE, JULY, granted=1000, carried=400, left=1400, forfeited=400),
        refused("2027-06-03", 1401, left=1400),
    ),
    case(
        "what is reserved over the end, and returned",
        sub(begin("rolling"), renew(MAY, JUNE, paid(MAY))),
        use("2027-04-05", 500, left=500),
        reserve("2027-04-30 20:00:00", "first", 300, left=200, hours=8),
        reserve("2027-04-30 21:00:00", "second", 100, left=100, hours=8),
        # Of 1000, 500 are used and 400 reserved: 100 are carried.
        shows(MAY, MAY, JUNE, granted=1000, carried=100, left=1100),
        # 150 of 300 come back: 250.
        commit("2027-05-01 01:00:00", "first", 150, left=1250),
        use("2027-05-01 02:00:00", 200, left=1050),
        # And 100 more: in all 350, of which 200 are used.
        release("2027-05-01 03:00:00", "second", left=1150),
        shows("2027-05-01 03:00:00", MAY, JUNE, granted=1000, carried=150, left=1150),
    ),
    case(
        "what comes back counts up to the limit, used or not",
        sub(begin("rolling"), renew(MAY, JUNE, paid(MAY))),
        reserve("2027-04-30 20:00:00", "all", 600, left=400, hours=8),
        use("2027-05-01 01:00:00", 300, left=1100),  # of 400 that are carried
        # 400 + 600 = 1000 are left of April, at most 500 in all: 200 beside the 300 that are used.
        release("2027-05-01 02:00:00", "all", left=1200),
        shows("2027-05-01 02:00:00", MAY, JUNE, granted=1000, carried=200, left=1200, forfeited=500),
    ),
    case(
        "what is returned to a window without rollover is gone",
        sub(begin("basic"), renew(MAY, JUNE, paid(MAY))),
        reserve("2027-04-30 23:30:00", "work", 400, left=600, hours=1),
        left(MAY, 1000),
        # It ends at half past midnight.
        shows("2027-05-01 00:30:00", MAY, JUNE, granted=1000, left=1000, forfeited=1000),
    ),
    case(
        "a reservation of carried units and of the window's own",
        sub(begin("rolling"), renew(MAY, JUNE, paid(MAY)), renew(JUNE, JULY, paid(JUNE))),
        use("2027-04-05", 900, left=100),
        reserve("2027-05-31 23:00:00", "work", 250, left=850, hours=3),
        shows("2027-05-31 23:00:00", MAY, JUNE, granted=1000, reserved=150, left=850),
        # May is over: 1000 − 150 = 850 are left of it, and 500 carried.
        shows(JUNE, JUNE, JULY, granted=1000, carried=500, left=1500, forfeited=350),
        # 120 are consumed, April's 100 first. What comes back are 130 of May, above the limit.
        commit("2027-06-01 01:00:00", "work", 120, left=1500),
        shows("2027-06-01 01:00:00", JUNE, JULY, granted=1000, carried=500, left=1500, forfeited=480),
    ),
    # --- packs ------------------------------------------------------------------------------------
    case(
        "what ends first is drawn first",
        sub(begin("basic"), renew(MAY, JUNE, paid(MAY))),
        use("2027-04-05", 250, left=900),  # 100 of the pack that ends on the 20th, 150 of the window
        shows("2027-04-05", APRIL, MAY, granted=1000, used=150, left=850),
        use("2027-04-10", 860, left=40),  # 850 of the window, 10 of the pack without an end
        shows("2027-05-01", MAY, JUNE, granted=1000, left=1000),
        left(MAY, 1040),
        packs=(Pack("ends", 100, utc("2027-04-02"), utc("2027-04-20")), Pack("stays", 50, utc(APRIL))),
    ),
]
