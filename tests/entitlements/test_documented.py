"""The tables in docs/entitlements.md and the cases that prove them agree, row by row and word by word."""

from __future__ import annotations

import re
from pathlib import Path

from licenzy.catalog.models import Kind
from licenzy.entitlements import decision, statuses
from tests.entitlements import (
    test_overrides,
    test_triggers,
    test_triggers_of_attempts,
    test_triggers_of_grace,
    test_triggers_of_invoices,
    test_triggers_of_items,
    test_triggers_of_money_back,
    test_triggers_of_prices,
    test_triggers_of_subscriptions,
    test_windows,
    test_windows_for_holders,
)
from tests.entitlements.rows import PROVEN
from tests.stripe_events import test_adoption
from tests.usage import test_adjusted_windows

DOC = Path(__file__).resolve().parents[2] / "docs" / "entitlements.md"
CASES = (
    test_triggers,
    test_triggers_of_attempts,
    test_triggers_of_subscriptions,
    test_triggers_of_grace,
    test_triggers_of_invoices,
    test_triggers_of_items,
    test_triggers_of_money_back,
    test_triggers_of_prices,
)
ALSO_PROVING = (
    test_adoption,
    test_overrides,
    test_windows,
    test_windows_for_holders,
    test_adjusted_windows,
)


def section(title: str) -> str:
    """The text below a heading, down to the next one of its level."""
    text = DOC.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found.group(1)


def cells(title: str, column: int) -> list[str]:
    """The words in backticks that one column of a section's tables has."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("| ")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row[column])]


def test_each_row_has_its_cases_and_each_case_its_row() -> None:
    documented = [
        *(f"kind:{word}" for word in cells("Kinds", 0)),
        *(f"status:{word}" for word in cells("Stripe's statuses", 0)),
        *cells("What changes an entitlement", -1),
    ]
    assert len(documented) == len(set(documented))
    assert sorted(documented) == sorted(PROVEN)


def test_every_case_of_these_modules_proves_something() -> None:
    proving = {name for names in PROVEN.values() for name in names}
    for module in CASES:
        assert {name for name in vars(module) if name.startswith("test_")} <= proving


def test_every_word_of_the_code_is_explained() -> None:
    assert set(cells("Kinds", 0)) == set(Kind)
    assert set(cells("Stripe's statuses", 0)) == {*statuses.KNOWN, "pause_collection", "unknown"}
    told = section("Statuses and reasons")
    words = {*decision._BEST_FIRST, *decision._NEAREST_FIRST}
    assert {word for word in words if f"`{word}`" not in told} == set()
