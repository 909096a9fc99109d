"""The trial of a subscription, out of its facts in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from licenzy.entitlements.models import FactSource
from licenzy.entitlements.trials import confirmed_endings, is_ahead, trial_in
from tests.support.clock import START

END = int((START + timedelta(days=3)).timestamp())


@dataclass(frozen=True)
class State:
    """A fact of a subscription."""

    source_id: str
    occurred_at: datetime
    data: dict[str, Any] = field(hash=False)
    kind: str = "subscription"
    source: FactSource = FactSource.EVENT
    object_id: str = "sub_1"

    @property
    def recorded_at(self) -> datetime:
        return self.occurred_at


def state(number: int, status: str, *codes: str, hours: float = 0, **data: Any) -> State:
    items = [{"id": f"si_{code}", "price": code, "sold": {"product_code": code}} for code in codes]
    given = {"event": "customer.subscription.updated", "previous": {}, "trial_end": None, **data}
    source = FactSource.SNAPSHOT if "snapshot" in data else FactSource.EVENT
    at = START + timedelta(hours=hours)
    return State(f"{number:04}", at, {"status": status, "items": items, **given}, source=source)


CASES = [
    ([state(1, "active", "PRO")], None),
    ([state(1, "incomplete", "PRO", trial_end=END)], None),
    ([state(1, "trialing", "PRO", trial_end=END)], (0, ["PRO"])),
    ([state(1, "trialing", "PRO"), state(2, "trialing", "MAX", hours=1)], (0, ["MAX", "PRO"])),
    ([state(1, "trialing", "PRO"), state(2, "active", "MAX", hours=1, trial_end=END)], (0, ["PRO"])),
    ([state(1, "active", "PRO", hours=2, trial_end=END), state(2, "active", "MAX", hours=9, trial_end=END)],
     (2, ["PRO"])),
    ([state(1, "canceled", "PRO", trial_end=END), state(2, "trialing", "PRO", hours=-1)], (-1, ["PRO"])),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "expected"), CASES)
def test_a_trial_is_found_in_any_order(facts: list[State], expected: tuple[float, list[str]] | None) -> None:
    wanted = None if expected is None else (START + timedelta(hours=expected[0]), expected[1])
    assert {str(trial_in(order)) for order in permutations(facts)} == {str(trial_in(facts))}
    assert trial_in(facts) == wanted


def test_facts_of_before_tell_their_trial_too() -> None:
    old = state(1, "trialing", "PRO")
    del old.data["trial_end"]
    assert trial_in([old]) == (START, ["PRO"])


def test_an_item_of_no_product_tells_no_code() -> None:
    unknown = state(1, "trialing", "PRO")
    unknown.data["items"][0]["sold"] = None
    assert trial_in([unknown]) == (START, [])
    unknown.data["items"][0]["same_product"] = {"product_code": "PRO"}
    assert trial_in([unknown]) == (START, ["PRO"])


WILL_END = {"event": "customer.subscription.trial_will_end", "trial_end": END}
ENDING = ("sub_1", END)


def test_an_announced_end_counts_once_a_later_reading_confirms_it() -> None:
    announced = state(1, "trialing", "PRO", hours=1, **WILL_END)
    before = state(2, "trialing", "PRO", trial_end=END, snapshot=1)
    after = state(3, "trialing", "PRO", hours=1, trial_end=END, snapshot=2)
    again = state(4, "trialing", "PRO", hours=2, trial_end=END, snapshot=3)
    assert confirmed_endings([before, announced]) == {}
    assert confirmed_endings([after, again]) == {}
    assert confirmed_endings([before, announced, after, again]) == {ENDING: after}


@pytest.mark.parametrize("other", [{"status": "canceled"}, {"trial_end": END + 86_400}])
def test_a_reading_that_says_otherwise_confirms_nothing(other: dict[str, Any]) -> None:
    announced = state(1, "trialing", "PRO", hours=1, **WILL_END)
    read = state(2, "trialing", "PRO", hours=1, trial_end=END, snapshot=1)
    read.data.update(other)
    assert confirmed_endings([announced, read]) == {}


def test_an_end_lies_ahead_while_the_trial_runs() -> None:
    announced = state(1, "trialing", "PRO", hours=1, **WILL_END)
    read = state(2, "trialing", "PRO", hours=1, trial_end=END, snapshot=1)
    canceled = state(3, "canceled", "PRO", hours=2, trial_end=END)
    assert is_ahead(ENDING, [announced, read], START)
    assert not is_ahead(ENDING, [announced, read], START + timedelta(days=3))
    assert not is_ahead(ENDING, [announced, read, canceled], START)
