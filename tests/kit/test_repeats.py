"""What repeats is told once in a while, with its count."""

from __future__ import annotations

import time

from licenzy.kit.repeats import Repeats


def test_each_thing_is_told_at_first_and_then_once_in_a_while() -> None:
    repeats = Repeats(0.2)
    assert repeats.due("one") == 1
    assert [repeats.due("one") for _ in range(5)] == [0] * 5
    assert repeats.due("another") == 1
    time.sleep(0.21)
    assert repeats.due("one") == 6
    assert repeats.due("one") == 0
