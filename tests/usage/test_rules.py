"""Burning order and shares. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import State
from licenzy.usage.rules import Balance, Draw, balances, burning, committed, drawn, named, total

NOW = 1000


@dataclass(frozen=True)
class Pack:
    id: str
    granted_units: int
    ends_at: int | None = None
    created_at: int = 0
    used_units: int = 0
    reserved_units: int = 0
    kind: Kind = Kind.USAGE_PACK
    unit: str = "units"
    state: State = State.ACTIVE
    starts_at: int = 0
    ends_as: str | None = "expired"
    reason: str | None = None
    voided_at: int | None = None
    product_code: str = "PACK"
    features: tuple[str, ...] = ()
    window_starts_at: int | None = None
    window_ends_at: int | None = None


def ids(packs: list[Any]) -> list[str]:
    return [pack.id for pack in packs]


def test_soonest_to_end_then_oldest_then_by_id() -> None:
    packs = [
        Pack("never, young", 1, created_at=9),
        Pack("never, old", 1, created_at=1),
        Pack("late", 1, ends_at=3000),
        Pack("soon, young", 1, ends_at=2000, created_at=5),
        Pack("soon, old", 1, ends_at=2000, created_at=2),
        Pack("soon, old too", 1, ends_at=2000, created_at=2),
    ]
    expected = ["soon, old", "soon, old too", "soon, young", "late", "never, old", "never, young"]
    assert ids(burning(packs, NOW)) == expected
    assert ids(burning(packs[::-1], NOW)) == expected


def test_only_packs_with_something_left_burn() -> None:
    assert burning([Pack("spent", 5, used_units=5), Pack("over", 5, ends_at=NOW)], NOW) == []
    assert burning([Pack("set aside", 5, reserved_units=5), Pack("pass", 5, kind=Kind.TIME_PASS)], NOW) == []


def test_shares() -> None:
    packs = [Pack("a", 10, used_units=4), Pack("b", 10, reserved_units=9), Pack("c", 10)]
    assert total(packs) == 17
    assert drawn(packs, 6) == [Draw("a", 6)]
    assert drawn(packs, 8) == [Draw("a", 6), Draw("b", 1), Draw("c", 1)]
    assert sum(draw.units for draw in drawn(packs, 17)) == 17
    with pytest.raises(ValueError, match="do not have"):
        drawn(packs, 18)


@pytest.mark.parametrize(
    ("units", "taken"), [(1, [1, 0, 0]), (6, [6, 0, 0]), (7, [6, 1, 0]), (17, [6, 1, 10])]
)
def test_commits_take_from_the_first_holds(units: int, taken: list[int]) -> None:
    holds = [Draw("a", 6), Draw("b", 1), Draw("c", 10)]
    assert committed(holds, units) == [Draw(name, share) for name, share in zip("abc", taken, strict=True)]


def test_packs_are_named_by_unit_and_product() -> None:
    packs = [
        Pack("a", 1, unit="images", product_code="A"),
        Pack("b", 1, unit="images", product_code="B"),
        Pack("c", 1, product_code="A"),
    ]
    assert ids(named(packs, "images")) == ["a", "b"]
    assert ids(named(packs, "images", "B")) == ["b"]
    assert ids(named(packs, "units", "B")) == []


def test_a_balance_is_of_the_packs_available_now() -> None:
    packs = [
        Pack("a", 10, unit="pages", used_units=3, reserved_units=1),
        Pack("b", 5, unit="pages"),
        Pack("c", 2, unit="images"),
        Pack("spent", 2, unit="sounds", used_units=2),
        Pack("over", 2, unit="sounds", ends_at=1),
        Pack("no pack", 0, unit="units", kind=Kind.SUBSCRIPTION),
    ]
    assert balances(packs, NOW) == {"images": Balance(2, 2), "pages": Balance(11, 15)}
    assert list(balances(packs, NOW)) == ["images", "pages"]
