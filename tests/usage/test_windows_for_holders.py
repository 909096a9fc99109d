"""Included units over HTTP while an operator gives other terms and takes them back. Figures by hand."""

from __future__ import annotations

from licenzy.kit.clock import from_unix
from tests.entitlements.test_windows_for_holders import MAY, MID_MARCH, MORE, given
from tests.support.included_units import APRIL, DAY, FEBRUARY, HOUR, MARCH, line, of_year
from tests.usage.test_windows import Holder, holder

__all__ = ["holder"]


def test_the_window_that_runs_grows_and_one_that_is_over_stays(holder: Holder) -> None:
    holder.records(of_year(), FEBRUARY)
    assert holder.consumes(400, FEBRUARY + HOUR) == (200, 600)
    assert holder.consumes(900, MARCH + HOUR) == (200, 100)
    holder.records([given(MID_MARCH, MORE)], MID_MARCH)
    assert holder.consumes(200, MID_MARCH + HOUR) == (200, 900)
    february, march = holder.windows()
    assert (february.granted_units, march.granted_units) == (1000, 2000)
    assert (holder.included()["granted"], holder.included()["remaining"]) == (2000, 900)
    assert holder.consumes(1, APRIL) == (200, 1999)


def test_what_was_used_beyond_comes_off_the_next_window_once_it_is_taken_back(holder: Holder) -> None:
    holder.records([*of_year(), given(MID_MARCH, MORE)], MID_MARCH)
    assert holder.consumes(1500, MID_MARCH + HOUR) == (200, 500)
    holder.records([given(MID_MARCH + DAY, line(), version=1)], MID_MARCH + DAY)
    (march,) = holder.windows()
    # Its size is 1,000 again, and its row never less than what is used.
    assert (march.granted_units, march.used_units) == (1500, 1500)
    assert holder.consumes(1, MID_MARCH + DAY + HOUR) == (409, 0)
    assert holder.consumes(100, APRIL) == (200, 400)
    _, april = holder.windows()
    assert (april.granted_units, april.overdrawn_units) == (1000, 500)
    assert holder.consumes(1, MAY) == (200, 999)


def test_a_window_that_nobody_drew_when_it_was_over_stays_small(holder: Holder) -> None:
    holder.records(of_year(), FEBRUARY)
    assert holder.consumes(400, FEBRUARY + HOUR) == (200, 600)
    # Nobody calls in March before the terms are given: the row of February is the open one.
    holder.records([given(MID_MARCH, MORE)], MID_MARCH)
    (february,) = holder.windows()
    assert (february.granted_units, february.ends_at) == (1000, from_unix(MARCH))
    assert holder.consumes(100, MID_MARCH + HOUR) == (200, 1900)


def test_windows_of_another_length_begin_at_once(holder: Holder) -> None:
    holder.records(of_year(), MARCH)
    assert holder.consumes(400, MARCH + HOUR) == (200, 600)
    holder.records([given(MID_MARCH, line(units=20, every="day"))], MID_MARCH)
    # 1,000 for 31 days are 451 for 14 of them: nothing of the 400 comes off the first day.
    assert holder.consumes(5, MID_MARCH + HOUR) == (200, 15)
    assert holder.consumes(5, MID_MARCH + DAY) == (200, 15)
