"""What a change credits and charges, as numbers; and the periods that a moment lies in."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from licenzy.stripe_sandbox.lifecycle import prorations
from licenzy.stripe_sandbox.lifecycle.periods import containing, end_after
from tests.stripe_sandbox.test_lifecycle import ANCHORS, RECURRING

START, END = 1_000_000, 1_000_000 + 30 * 86_400


def item(
    id_: str = "si_1", *, amount: int = 3000, quantity: int = 1, price: str = "price_1"
) -> dict[str, Any]:
    return {
        "id": id_,
        "price": {
            "id": price,
            "nickname": None,
            "unit_amount_decimal": str(amount),
            "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        },
        "quantity": quantity,
        "current_period_start": START,
        "current_period_end": END,
    }


def amounts(before: list[Any], after: list[Any], at: int) -> list[int]:
    return [entry.amount for entry in prorations.of_change(before, after, at=at)]


def test_a_third_of_the_period_is_left() -> None:
    at = START + 20 * 86_400
    assert amounts([item()], [item(amount=6000, price="price_2")], at) == [-1000, 2000]
    assert amounts([item()], [item(quantity=4)], at) == [-1000, 4000]
    assert amounts([item()], [item(quantity=0)], at) == [-1000]
    assert amounts([item()], [item("si_2", amount=900)], at) == [-1000, 300]
    assert amounts([item()], [item()], at) == []


def test_it_counts_in_seconds() -> None:
    at = END - 864  # A 3,000th of the period is left.
    assert amounts([item()], [item(quantity=2)], at) == [-1, 2]
    assert amounts([item()], [item(quantity=2)], at + 433) == [1], "half a unit rounds up, less to nothing"
    assert amounts([item()], [item(quantity=2)], END) == []


@given(st.integers(1, 10**7), st.integers(0, 50), st.integers(START, END))
def test_what_was_used_and_what_is_left_are_the_whole(amount: int, quantity: int, at: int) -> None:
    one = item(amount=amount, quantity=quantity)
    credit, charge = prorations.unused(one, at=at), prorations.remaining(one, at=at)
    assert credit.amount == -charge.amount
    assert 0 <= charge.amount <= amount * quantity
    assert (charge.start, charge.end, charge.item) == (at, END, "si_1")
    assert prorations.remaining(one, at=START).amount == amount * quantity


@given(ANCHORS, RECURRING, st.integers(0, 10 * 366 * 86_400))
def test_a_moment_lies_in_one_period(anchor: int, recurring: Any, later: int) -> None:
    start, end = containing(anchor, recurring, anchor + later)
    assert start <= anchor + later < end
    assert end_after(anchor, recurring, start) == end
    assert containing(anchor, recurring, end)[0] == end


def test_before_the_anchor_the_period_lasts_until_it() -> None:
    assert containing(500, {"interval": "day", "interval_count": 1}, 200) == (200, 500)
