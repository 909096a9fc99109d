"""When an answer changes by time alone: at the very instant that it is said to, and not before."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import DefaultProduct, decide
from licenzy.entitlements.models import OVERRIDE, State
from licenzy.usage.access import ReservedUnits, Wanted, answer

NOW = 1000
DEFAULT = DefaultProduct("FREE", False, ("a",), {"l": 1})


@dataclass(frozen=True)
class Row:
    id: str
    product_code: str
    kind: Kind
    state: State
    starts_at: int
    ends_at: int | None
    granted_units: int
    used_units: int
    reserved_units: int
    voided_at: int | None
    features: tuple[str, ...]
    limits: Mapping[str, int | None]
    adds: bool
    source: str
    quantity: int = 1
    reason: str | None = None
    ends_as: str | None = None


def random_row(chance: random.Random, number: int) -> Row:
    kind = chance.choice(list(Kind))
    units = chance.randint(0, 3) if kind is Kind.USAGE_PACK else 0
    starts_at = NOW + chance.randint(-9, 9)
    return Row(
        f"ent_{number}",
        chance.choice("AB"),
        kind,
        chance.choice([State.ACTIVE, State.ACTIVE, *State]),
        starts_at,
        chance.choice([None, starts_at + chance.randint(0, 15)]),
        units,
        chance.randint(0, units),
        0,
        chance.choice([None, None, None, NOW]),
        chance.choice([(), ("a",)]),
        chance.choice([{}, {"l": 2}, {"l": 5}, {"l": None}]),
        chance.choice([False, False, True]),
        chance.choice(["stripe", "stripe", "portal", OVERRIDE]),
    )


def decided(rows: list[Row], wanted: Wanted, instant: int, set_aside: list[ReservedUnits]) -> Any:
    """The answer as of `instant`, when all reservations that are over by then were given back."""
    freed = Counter[str]()
    for each in set_aside:
        if each.expires_at <= instant:
            freed[each.pack_id] += each.units
    then = [replace(row, reserved_units=row.reserved_units - freed[row.id]) for row in rows]
    asked = wanted._asdict()
    del asked["units"]
    decision = decide(then, instant, **asked, default=DEFAULT)
    deciding = decision.deciding.id if decision.deciding else None
    return decision.allowed, decision.reason, deciding, decision.default


@pytest.mark.parametrize("seed", range(300))
def test_the_answer_is_the_same_until_then_and_another_at_that_instant(seed: int) -> None:
    chance = random.Random(seed)
    rows = [random_row(chance, number) for number in range(chance.randint(0, 5))]
    set_aside: list[ReservedUnits] = []
    for at, row in enumerate(rows):
        left = row.granted_units - row.used_units
        while left and chance.random() < 0.6:
            units = chance.randint(1, left)
            left -= units
            set_aside.append(ReservedUnits(row.id, units, NOW + chance.randint(1, 9)))
        reserved = sum(each.units for each in set_aside if each.pack_id == row.id)
        rows[at] = replace(row, reserved_units=reserved)
    limit = chance.choice([None, None, "l"])
    feature = None if limit else chance.choice([None, None, "a"])
    wanted = Wanted(chance.choice([None, "A"]), feature, limit, chance.randint(0, 6))
    access = answer(rows, wanted, NOW, default=DEFAULT, set_aside=set_aside)
    changes_at, present = access.changes_at, decided(rows, wanted, NOW, set_aside)
    assert (access.allowed, access.reason) == present[:2]
    last = changes_at - 1 if changes_at is not None else NOW + 100
    for instant in range(NOW, last + 1):
        assert decided(rows, wanted, instant, set_aside) == present
    if changes_at is not None:
        assert changes_at > NOW
        assert decided(rows, wanted, changes_at, set_aside) != present
