"""Windows of included units: which there are, and how large, by hand. Pure, whatever the order of facts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime

import pytest

from licenzy.entitlements.models import FactSource
from licenzy.entitlements.projection import project
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.window_counters import due_window
from licenzy.entitlements.windows import (
    FOR_GOOD,
    MOST_UNITS,
    Level,
    Stretch,
    UnitWindows,
    Window,
    included_of,
    step_number,
    step_start,
    windows_of,
)
from licenzy.kit.clock import from_unix
from tests.entitlements.rows import row
from tests.entitlements.test_projection import Fact
from tests.support.included_units import (
    ANCHOR,
    APRIL,
    DAY,
    FEBRUARY,
    HOUR,
    MARCH,
    NEXT_YEAR,
    at,
    billed,
    line,
    of_month,
    of_year,
    paid,
    sold,
    state,
)


def windows(facts: Sequence[Fact], unit: str = "images") -> UnitWindows:
    found = {
        each.unit: each
        for projected in project(facts)
        for each in included_of(projected.included)
        if projected.ends_as != "canceled"
    }
    return found[unit]


def present(facts: Sequence[Fact], now: int, unit: str = "images") -> Window:
    window, _before = windows(facts, unit).at(now)
    assert window is not None
    return window


@row("included.late")
@row("included.more")
@row("included.swapped")
@row("included.trial")
@row("included.paused")
@pytest.mark.parametrize(
    ("number", "start"),
    [(0, "2024-01-31T10:00:00"), (1, "2024-02-29T10:00:00"), (2, "2024-03-31T10:00:00"),
     (3, "2024-04-30T10:00:00"), (13, "2025-02-28T10:00:00"), (-2, "2023-11-30T10:00:00")],
)  # fmt: skip
def test_months_have_the_day_of_the_anchor_or_their_last(number: int, start: str) -> None:
    anchor = at("2024-01-31T10:00:00")
    assert step_start("month", anchor, number) == at(start)
    assert step_number("month", anchor, at(start)) == number
    assert step_number("month", anchor, at(start) - 1) == number - 1


@row("included.paid")
def test_a_year_has_twelve_monthly_windows_and_none_after_it() -> None:
    included = windows(of_year())
    first = included.at(ANCHOR + 5).present
    assert first == Window(ANCHOR, FEBRUARY, ANCHOR + 5, 1000, 0)
    starts = [included.next_opening(None)]
    while (start := included.next_opening(starts[-1])) is not None:
        starts.append(start)
    assert len(starts) == 12
    # The first opens when it is paid; the others at the day and time of the anchor.
    assert starts[:3] == [ANCHOR + 5, FEBRUARY, MARCH]
    assert starts[-1] == at("2026-12-15T10:00:00")
    last = included.at(NEXT_YEAR + 3 * DAY)
    assert last.present is not None
    assert (last.present.starts_at, last.present.ends_at) == (starts[-1], NEXT_YEAR)
    assert last.before == Window(at("2026-11-15T10:00:00"), starts[-1], at("2026-11-15T10:00:00"), 1000, 0)


def test_a_period_that_is_paid_late_opens_its_window_when_it_is_paid() -> None:
    terms = sold(line(rollover={"at_most": 500}))
    facts = [
        *of_month(terms),
        state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2"),
        paid("in_2", FEBRUARY + HOUR, billed((FEBRUARY, MARCH))),
    ]
    assert present(facts, FEBRUARY + HOUR - 1).starts_at == ANCHOR
    after = present(facts, FEBRUARY + HOUR)
    assert (after.starts_at, after.opens_at, after.units) == (FEBRUARY, FEBRUARY + HOUR, 1000)
    assert windows(facts).next_opening(FEBRUARY) is None
    # Nothing new opens while nothing new is paid.
    assert present(facts, MARCH + 2 * DAY).starts_at == FEBRUARY


@row("included.late")
def test_days_run_across_periods_and_those_before_a_late_payment_are_skipped() -> None:
    terms = sold(line(units=20, every="day"))
    facts = of_month(terms)
    assert present(facts, ANCHOR + 5).units == 20
    assert present(facts, ANCHOR + DAY).starts_at == ANCHOR + DAY
    facts += [
        state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2"),
        paid("in_2", FEBRUARY + 2 * DAY + HOUR, billed((FEBRUARY, MARCH))),
    ]
    assert present(facts, FEBRUARY + DAY).starts_at == FEBRUARY - DAY
    late = present(facts, FEBRUARY + 2 * DAY + HOUR)
    assert (late.starts_at, late.ends_at) == (FEBRUARY + 2 * DAY, FEBRUARY + 3 * DAY)
    assert present(facts, FEBRUARY + 3 * DAY).opens_at == FEBRUARY + 3 * DAY


def test_weeks_go_on_over_the_end_of_a_period_while_the_next_is_paid() -> None:
    terms = sold(line(units=70, every="week"))
    facts = of_month(terms)
    # 31 days: the fifth week begins three days before the end, and lasts four days longer.
    fifth = present(facts, FEBRUARY - DAY)
    assert (fifth.starts_at, fifth.ends_at) == (ANCHOR + 28 * DAY, ANCHOR + 35 * DAY)
    facts += [
        state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2"),
        paid("in_2", FEBRUARY + HOUR, billed((FEBRUARY, MARCH))),
    ]
    assert present(facts, FEBRUARY + DAY).starts_at == fifth.starts_at
    assert present(facts, ANCHOR + 35 * DAY).starts_at == ANCHOR + 35 * DAY


@pytest.mark.parametrize(
    ("is_paid", "units"),
    # A third of 31 days at one, two thirds at three: 1000 * (1 + 2 * 3) / 3, rounded up.
    [(True, 2334), (False, 1000)],
)
def test_more_of_it_counts_once_its_invoice_is_paid(*, is_paid: bool, units: int) -> None:
    terms = sold(line())
    change = ANCHOR + (FEBRUARY - ANCHOR) // 3
    facts = [
        *of_month(terms),
        state(change, terms, span=(ANCHOR, FEBRUARY), quantity=3, invoice="in_2" if is_paid else "in_1"),
    ]
    if is_paid:
        lines = (
            billed((change, FEBRUARY), -1333, quantity=1, proration=True),
            billed((change, FEBRUARY), 4000, quantity=3, proration=True),
        )
        facts.append(paid("in_2", change + 3, *lines, reason="subscription_update"))
    assert present(facts, change + 10).units == units


@row("included.refund")
def test_a_refund_of_the_invoice_of_a_change_takes_its_units_back() -> None:
    terms = sold(line())
    change = ANCHOR + (FEBRUARY - ANCHOR) // 2
    facts = [
        *of_month(terms),
        state(change, terms, span=(ANCHOR, FEBRUARY), quantity=3, invoice="in_2"),
        paid(
            "in_2", change, billed((change, FEBRUARY), 2000, quantity=3, proration=True),
            reason="subscription_update",
        ),
    ]  # fmt: skip
    assert present(facts, change).units == 2000
    refund = {
        "charge": "ch_2",
        "payment_intent": "pi_in_2",
        "amount": 2000,
        "status": "succeeded",
        "created": change + DAY,
    }
    facts.append(Fact("refund", refund, from_unix(change + DAY), "evt_refund", "re_1"))
    assert present(facts, change + DAY).units == 1000


@row("included.less")
def test_less_of_it_counts_at_once_by_the_seconds() -> None:
    terms = sold(line())
    change = ANCHOR + (FEBRUARY - ANCHOR) // 4
    facts = [
        *of_month(terms, quantity=4),
        state(change, terms, span=(ANCHOR, FEBRUARY), quantity=1, invoice="in_1"),
    ]
    # A quarter at four and three quarters at one.
    assert present(facts, change).units == 1750


def test_a_year_goes_on_with_the_item_as_it_is() -> None:
    terms = sold(line())
    change = at("2026-03-01T00:00:00")
    facts = [*of_year(), state(change, terms, span=(ANCHOR, NEXT_YEAR), quantity=0, invoice="in_1")]
    assert present(facts, APRIL).units == 0
    facts = [
        *of_year(),
        state(change, terms, span=(ANCHOR, NEXT_YEAR), quantity=2, invoice="in_2"),
        paid(
            "in_2", change, billed((change, NEXT_YEAR), 17_000, quantity=2, proration=True),
            reason="subscription_update",
        ),
    ]  # fmt: skip
    assert present(facts, at("2026-02-20T00:00:00")).units > 1000
    assert present(facts, APRIL + 5 * DAY).units == 2000
    assert present(facts, at("2026-11-20T00:00:00")).units == 2000


@row("included.early")
def test_an_upgrade_that_begins_a_period_takes_what_was_used_too_much_off() -> None:
    """From a month at 1,000 to a year at 3,000 a month, after half of the month."""
    small, large = sold(line()), sold(line(units=3000), price="price_year")
    middle = ANCHOR + (FEBRUARY - ANCHOR) // 2
    year = middle, at("2027-01-31T00:00:00")
    facts = [
        *of_month(small),
        state(middle, large, span=year, anchor=middle, invoice="in_2"),
        paid(
            "in_2", middle + 2,
            billed((middle, FEBRUARY), -1000, proration=True),
            billed(year, 20_000, price="price_year"),
            reason="subscription_update",
        ),
    ]  # fmt: skip
    before, after = windows(facts).at(middle + 2)[::-1]
    assert before is not None
    assert after is not None
    assert (after.starts_at, after.units, after.credits_from) == (middle, 3000, middle)
    assert before.earned_by(after) == 500
    row = Row(from_unix(ANCHOR), granted_units=1000, used_units=800)
    opens = due_window(windows(facts), row, from_unix(middle + 2))
    assert opens is not None
    assert (opens.window.starts_at, opens.carried_units, opens.overdrawn_units) == (middle, 0, 300)


def test_an_item_that_takes_the_place_of_another_goes_on_with_its_windows() -> None:
    terms = sold(line())
    other = sold(line(units=2000), price="price_other")
    change = ANCHOR + (FEBRUARY - ANCHOR) // 2
    facts = [
        *of_month(terms),
        state(change, other, span=(ANCHOR, FEBRUARY), item="si_2", invoice="in_2"),
        paid(
            "in_2", change,
            billed((change, FEBRUARY), -1000, proration=True),
            billed((change, FEBRUARY), 2000, proration=True, item="si_2", price="price_other"),
            reason="subscription_update",
        ),
    ]  # fmt: skip
    (heir,) = [each for each in project(facts) if each.item_key == "si_2"]
    assert heir.continues == ("si_1",)
    window = present(facts, change)
    assert (window.starts_at, window.units) == (ANCHOR, 1500)


def test_a_trial_has_one_window_of_its_own() -> None:
    terms = sold(line(trial_units=50, rollover={"at_most": None}))
    trial_end = ANCHOR + 14 * DAY
    month = trial_end, at("2026-03-01T10:00:00")
    facts = [
        state(ANCHOR, terms, span=(ANCHOR, trial_end), status="trialing", trial_end=trial_end,
              anchor=trial_end, invoice="in_0"),
        paid("in_0", ANCHOR, billed((ANCHOR, trial_end), 0), reason="subscription_create"),
    ]  # fmt: skip
    window = present(facts, ANCHOR)
    assert (window.starts_at, window.ends_at, window.units, window.is_trial) == (ANCHOR, trial_end, 50, True)
    assert windows(facts).next_opening(ANCHOR) is None
    facts += [
        state(trial_end, terms, span=month, trial_end=trial_end, anchor=trial_end, invoice="in_1"),
        paid("in_1", trial_end + HOUR, billed(month)),
    ]
    assert present(facts, trial_end + HOUR - 1).is_trial
    opens = due_window(windows(facts), Row(from_unix(ANCHOR), granted_units=50), from_unix(trial_end + HOUR))
    assert opens is not None
    assert (opens.window.units, opens.carried_units) == (1000, 0)


def test_a_paused_collection_that_keeps_drafts_goes_on_opening_windows() -> None:
    terms = sold(line())
    facts = [
        *of_month(terms),
        state(FEBRUARY, terms, span=(FEBRUARY, MARCH), pause="keep_as_draft", invoice="in_2"),
    ]
    assert present(facts, FEBRUARY).starts_at == FEBRUARY
    facts = [*of_month(terms), state(FEBRUARY, terms, span=(FEBRUARY, MARCH), pause="void", invoice="in_2")]
    assert present(facts, FEBRUARY).starts_at == ANCHOR


def test_a_product_without_the_unit_ends_what_was_left() -> None:
    terms, bare = sold(line(rollover={"at_most": None})), sold(price="price_bare", code="BARE")
    facts = [
        *of_month(terms),
        state(FEBRUARY, bare, span=(FEBRUARY, MARCH), invoice="in_2"),
        paid("in_2", FEBRUARY, billed((FEBRUARY, MARCH), price="price_bare")),
        state(MARCH, bare, span=(MARCH, APRIL), invoice="in_3"),
        paid("in_3", MARCH, billed((MARCH, APRIL), price="price_bare")),
    ]
    assert present(facts, FEBRUARY).units == 0
    row = Row(from_unix(ANCHOR), granted_units=1000, used_units=100)
    opens = due_window(windows(facts), row, from_unix(MARCH))
    assert opens is not None
    assert (opens.window.units, opens.carried_units) == (0, 0)


@pytest.mark.parametrize(
    ("at_most", "used", "carried"), [(None, 100, 900), (500, 100, 500), (500, 800, 200), (500, 1000, 0)]
)
def test_what_is_left_is_carried_over_once(at_most: int | None, used: int, carried: int) -> None:
    included = windows(of_year(rollover={"at_most": at_most}))
    row = Row(from_unix(ANCHOR), granted_units=1000, used_units=used)
    opens = due_window(included, row, from_unix(FEBRUARY))
    assert opens is not None
    assert opens.carried_units == carried
    # Of what was carried in, nothing is carried on.
    row = Row(from_unix(FEBRUARY), granted_units=1000, used_units=used, carried_units=500)
    opens = due_window(included, row, from_unix(MARCH))
    assert opens is not None
    own = max(0, used - 500)
    assert opens.carried_units == (1000 - own if at_most is None else min(at_most, 1000 - own))


def test_a_month_that_nobody_used_is_carried_over_whole() -> None:
    opens = due_window(windows(of_year(rollover={"at_most": 600})), None, from_unix(APRIL))
    assert opens is not None
    assert (opens.window.starts_at, opens.carried_units) == (APRIL, 600)


def test_any_order_and_any_repeat_give_the_same_windows() -> None:
    terms = sold(line(rollover={"at_most": 100}), line("words", 5, "day"))
    change = FEBRUARY + 9 * DAY
    facts = [
        *of_month(terms),
        state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2"),
        paid("in_2", FEBRUARY + HOUR, billed((FEBRUARY, MARCH))),
        state(change, terms, span=(FEBRUARY, MARCH), quantity=3, invoice="in_3"),
        paid(
            "in_3", change, billed((change, MARCH), 900, quantity=3, proration=True),
            reason="subscription_update",
        ),
    ]  # fmt: skip
    expected = [each.included for each in project(facts)]
    assert expected[0]
    shuffled = random.Random(3)
    for _ in range(40):
        order = facts * 2
        shuffled.shuffle(order)
        assert [each.included for each in project(order)] == expected


class Row:
    """A row of `usage_windows`, as far as opening reads it."""

    def __init__(
        self,
        starts_at: datetime,
        *,
        granted_units: int,
        used_units: int = 0,
        carried_units: int = 0,
        reserved_units: int = 0,
        overdrawn_units: int = 0,
    ) -> None:
        self.starts_at, self.granted_units, self.used_units = starts_at, granted_units, used_units
        self.carried_units, self.reserved_units = carried_units, reserved_units
        self.overdrawn_units = overdrawn_units


def test_facts_from_events_and_readings_agree() -> None:
    """A reading of the same state brings no window of its own."""
    facts = of_year()
    reading = state(ANCHOR + HOUR, sold(line()), span=(ANCHOR, NEXT_YEAR), invoice="in_1", snapshot=1)
    reading.source = FactSource.SNAPSHOT
    assert windows([*facts, reading]) == windows(facts)


@pytest.mark.parametrize("every", ["day", "week", "month", "period"])
def test_a_period_beyond_the_last_year_has_no_windows(every: str) -> None:
    terms = sold(line(every=every))
    span = FOR_GOOD + 1, FOR_GOOD + DAY
    facts = [state(ANCHOR, terms, span=span, invoice="in_1"), paid("in_1", ANCHOR, billed(span))]
    (projected,) = project(facts)
    assert projected.included is None


def test_time_that_another_run_has_from_its_start_has_no_windows() -> None:
    none: TermVersions[int | None] = TermVersions(0)
    level = Level(ANCHOR, TermVersions(10))
    daily, weekly = (
        Stretch(ANCHOR, FEBRUARY, ANCHOR, every, ANCHOR, none, [level], is_fresh=True)
        for every in ("day", "week")
    )
    included = windows_of("images", None, [daily, weekly], {})
    assert included is not None
    assert [each.ends_at - each.starts_at for each in included.windows] == [7 * DAY]


@pytest.mark.parametrize(("quantity", "units"), [(-5, 0), (10**30, MOST_UNITS)])
@pytest.mark.parametrize("every", ["day", "month", "period"])
def test_no_quantity_makes_a_window_that_cannot_be_stored(every: str, quantity: int, units: int) -> None:
    span = ANCHOR, NEXT_YEAR
    facts = [
        state(ANCHOR, sold(line(every=every)), span=span, quantity=quantity, invoice="in_1"),
        paid("in_1", ANCHOR, billed(span, quantity=quantity), reason="subscription_create"),
    ]
    for now in (ANCHOR, APRIL):
        assert present(facts, now).units == units
