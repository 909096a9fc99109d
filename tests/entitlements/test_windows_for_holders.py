"""Windows of included units once an operator gave other terms: which ones they reach, by hand. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from licenzy.entitlements.models import FactSource
from licenzy.entitlements.projection import project
from licenzy.entitlements.window_counters import due_window
from licenzy.entitlements.windows import UnitWindows, included_of
from licenzy.kit.clock import from_unix
from tests.entitlements.rows import row
from tests.entitlements.test_projection import Fact
from tests.entitlements.test_windows import Row, present, windows
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

MAY = at("2026-05-15T10:00:00")
MID_MARCH = MARCH + 14 * DAY
MORE = line(units=2000)


def given(when: int, *included: Mapping[str, Any], version: int = 2, code: str = "PRO") -> Fact:
    """The fact that gives a purchase a version that includes these units."""
    data = {
        "action": "terms",
        "product_code": code,
        "version": version,
        "terms": {"features": [], "included": list(included)} if included else {"features": []},
        "replaces": ["features", "included"],
        "actor": None,
        "note": "",
    }
    return Fact("operator", data, from_unix(when), f"terms:{when}:{version}", "sub_1", FactSource.OPERATOR)


def sizes(facts: Sequence[Fact], *instants: int) -> list[int]:
    return [present(facts, instant).units for instant in instants]


@row("included.terms")
def test_terms_given_in_march_reach_march_and_what_follows() -> None:
    facts = [*of_year(), given(MID_MARCH, MORE)]
    assert sizes(facts, ANCHOR + HOUR, FEBRUARY, MARCH, APRIL, NEXT_YEAR - 1) == [
        1000,
        1000,
        2000,
        2000,
        2000,
    ]
    march = present(facts, MARCH)
    assert (march.starts_at, march.ends_at, march.opens_at) == (MARCH, APRIL, MARCH)
    assert windows(facts).next_opening(MARCH) == APRIL


@pytest.mark.parametrize(("moment", "march"), [(APRIL - 1, 2000), (APRIL, 1000), (MARCH, 2000)])
def test_a_window_is_over_when_the_next_is_due(moment: int, march: int) -> None:
    assert sizes([*of_year(), given(moment, MORE)], FEBRUARY, MARCH, APRIL) == [1000, march, 2000]


def test_taken_back_in_march_nothing_is_left_of_it() -> None:
    facts = [*of_year(), given(MID_MARCH, MORE), given(MID_MARCH + DAY, line(), version=1)]
    assert sizes(facts, FEBRUARY, MARCH, APRIL) == [1000, 1000, 1000]


def test_taken_back_in_may_what_march_and_april_had_stays() -> None:
    facts = [*of_year(), given(MID_MARCH, MORE), given(MAY + DAY, line(), version=1)]
    assert sizes(facts, FEBRUARY, MARCH, APRIL, MAY, MAY + 40 * DAY) == [1000, 2000, 2000, 1000, 1000]
    # Of May 1,500 were used before: 500 come off June.
    used = Row(from_unix(MAY), granted_units=1500, used_units=1500)
    opens = due_window(windows(facts), used, from_unix(MAY + 31 * DAY))
    assert opens is not None
    assert (opens.window.units, opens.carried_units, opens.overdrawn_units) == (1000, 0, 500)


def test_a_renewal_keeps_them_and_each_period_has_what_was_given_by_then() -> None:
    terms = sold(line())
    facts = [
        *of_month(terms),
        state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2"),
        paid("in_2", FEBRUARY, billed((FEBRUARY, MARCH))),
        given(FEBRUARY + DAY, MORE),
        state(MARCH, terms, span=(MARCH, APRIL), invoice="in_3"),
        paid("in_3", MARCH, billed((MARCH, APRIL))),
    ]
    assert sizes(facts, ANCHOR + HOUR, FEBRUARY, MARCH) == [1000, 2000, 2000]
    periods = [
        each if each.kind != "operator" else given(FEBRUARY + DAY, line(units=2000, every="period"))
        for each in facts
    ]
    assert sizes(periods, ANCHOR + HOUR, MARCH) == [1000, 2000]


def test_another_quantity_has_its_time_of_the_new_size() -> None:
    terms, change = sold(line()), APRIL - 10 * DAY
    facts = [
        *of_year(),
        state(change, terms, span=(ANCHOR, NEXT_YEAR), quantity=2, invoice="in_2"),
        paid("in_2", change, billed((change, NEXT_YEAR), 900, quantity=2, proration=True),
             reason="subscription_update"),
    ]  # fmt: skip
    # 21 of 31 days with one seat and 10 with two: 1000 * 41 / 31, rounded up.
    assert sizes(facts, MARCH, APRIL) == [1323, 2000]
    for moment in (MID_MARCH, change + DAY):
        assert sizes([*facts, given(moment, MORE)], FEBRUARY, MARCH, APRIL) == [1000, 2646, 4000]


def test_a_unit_that_is_new_is_there_at_once_and_one_that_is_gone_ends() -> None:
    words = line("words", 50)
    facts = [*of_year(), given(MID_MARCH, line(), words)]
    assert present(facts, MID_MARCH, "words").starts_at == MARCH
    assert [present(facts, each, "words").units for each in (MID_MARCH, APRIL)] == [50, 50]
    gone = [*facts, given(APRIL + DAY, line(), version=1)]
    assert [present(gone, each, "words").units for each in (MARCH, APRIL, MAY)] == [50, 0, 0]
    without = [*of_year(), given(MID_MARCH)]
    assert sizes(without, FEBRUARY, MARCH, APRIL) == [1000, 0, 0]


def test_units_come_to_those_whose_product_included_none() -> None:
    facts = [*of_month(sold()), given(ANCHOR + DAY, MORE)]
    assert sizes(facts, ANCHOR + DAY) == [2000]
    assert project([*of_month(sold()), given(FEBRUARY + DAY, MORE)])[0].included is None


def test_units_come_to_the_product_that_an_item_changed_to() -> None:
    basic, pro, change = sold(code="BASIC", price="price_basic"), sold(), ANCHOR + 10 * DAY
    span = ANCHOR, FEBRUARY
    facts = [
        state(ANCHOR, basic, span=span, invoice="in_1"),
        paid("in_1", ANCHOR + 5, billed(span, price="price_basic"), reason="subscription_create"),
        state(change, pro, span=span, invoice="in_2"),
        paid("in_2", change, billed((change, FEBRUARY), 900, proration=True), reason="subscription_update"),
        given(change + DAY, MORE),
    ]
    assert present(facts, change + DAY).starts_at == change + DAY
    assert sizes(facts, change + DAY, FEBRUARY - 1) == [2000, 2000]


def test_rollover_counts_for_windows_that_are_not_over() -> None:
    facts = [*of_year(), given(MID_MARCH, line(rollover={"at_most": 300}))]
    included = windows(facts)
    opens = [due_window(included, Row(from_unix(start), granted_units=1000), from_unix(after))
             for start, after in ((FEBRUARY, MARCH), (MARCH, APRIL))]  # fmt: skip
    assert [each.carried_units for each in opens if each is not None] == [0, 300]


def test_windows_of_another_length_begin_when_they_are_given() -> None:
    facts = [*of_year(), given(MID_MARCH, line(units=20, every="day"))]
    assert sizes(facts, FEBRUARY, MID_MARCH - 1, MID_MARCH, APRIL) == [1000, 1000, 20, 20]
    assert present(facts, MID_MARCH + HOUR).starts_at == MID_MARCH
    back = [*facts, given(APRIL + 10 * DAY, line(), version=1)]
    assert sizes(back, APRIL + 9 * DAY, APRIL + 10 * DAY, MAY) == [20, 1000, 1000]
    assert present(back, MAY - 1).starts_at == APRIL + 10 * DAY


def test_a_trial_that_is_not_over_has_them() -> None:
    terms = sold(line(trial_units=100))
    trial = state(ANCHOR, terms, span=(ANCHOR, FEBRUARY), status="trialing", trial_end=FEBRUARY)
    more = given(ANCHOR + DAY, line(trial_units=300))
    assert sizes([trial], ANCHOR) == [100]
    assert sizes([trial, more], ANCHOR) == [300]
    assert sizes([trial, given(FEBRUARY, line(trial_units=300))], ANCHOR) == [100]


def test_of_another_product_they_change_nothing() -> None:
    assert windows([*of_year(), given(MID_MARCH, MORE, code="OTHER")]) == windows(of_year())


def test_a_window_that_a_new_period_cut_short_is_over() -> None:
    terms, early = sold(line()), ANCHOR + 10 * DAY
    span = early, early + 31 * DAY
    facts = [
        *of_month(terms),
        state(early, terms, span=span, anchor=early, invoice="in_2"),
        paid("in_2", early, billed(span), reason="subscription_update"),
    ]
    changed = [*facts, given(early + DAY, MORE)]
    assert sizes(changed, early - 1, early) == [1000, 2000]


# --- manual grants ---------------------------------------------------------------------------------------


def granted(*included: Mapping[str, Any]) -> Fact:
    data = {
        "action": "grant",
        "product_code": "PRO",
        "kind": "subscription",
        "version": 1,
        "features": [],
        "units": None,
        "until": None,
    }
    if included:
        data["included"] = list(included)
    return Fact("operator", data, from_unix(ANCHOR), "grant", "grant:1", FactSource.OPERATOR)


def test_manual_grants_have_them_too() -> None:
    facts = [granted(line()), given(MID_MARCH, MORE)]
    assert sizes(facts, ANCHOR, FEBRUARY, MARCH, APRIL) == [1000, 1000, 2000, 2000]
    back = [*facts, given(APRIL + DAY, line(), version=1)]
    assert sizes(back, FEBRUARY, MARCH, APRIL, MAY) == [1000, 2000, 1000, 1000]
    days = [*facts, given(APRIL + DAY, line(units=7, every="day"), version=3)]
    assert sizes(days, APRIL, APRIL + DAY, MAY) == [2000, 7, 7]
    assert sizes([granted(), given(MID_MARCH, MORE)], MID_MARCH, APRIL) == [2000, 2000]


# --- order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["subscription", "grant"])
def test_any_order_and_any_repeat_give_the_same_windows(first: str) -> None:
    facts = [
        *(of_year() if first == "subscription" else [granted(line())]),
        given(MID_MARCH, MORE),
        given(MID_MARCH + DAY, line(units=30, every="week"), line("words", 5)),
        given(MAY, line(), version=1),
    ]
    expected = [each.included for each in project(facts)]
    assert expected[0]
    shuffled = random.Random(5)
    for _ in range(30):
        order = facts + facts[1:]
        shuffled.shuffle(order)
        assert [each.included for each in project(order)] == expected


def test_windows_follow_each_other_without_a_gap() -> None:
    facts = [*of_year(), given(MID_MARCH, MORE), given(APRIL, line(), version=1)]
    (included,) = _all(facts)
    found = list(included.between(0, NEXT_YEAR))
    assert all(before.ends_at == after.starts_at for before, after in pairwise(found))
    assert [each.units for each in found[-10:]] == [2000, *[1000] * 9]


def _all(facts: Sequence[Fact]) -> list[UnitWindows]:
    return [each for projected in project(facts) for each in included_of(projected.included)]
