"""What people may name things, wherever they do."""

from __future__ import annotations

import pytest

from licenzy.kit.names import clean_name, name_problem

INVISIBLE = ["\u200b", "a\u202eb", "a\x07b", "\ufeff", "\u2066x"]


@pytest.mark.parametrize("name", ["Night Sky", "größte 東京", "O'Neill & Søn", "🦊"])
def test_names_that_can_be_shown(name: str) -> None:
    assert name_problem(clean_name(f"  {name} "), most=80) is None


@pytest.mark.parametrize("name", INVISIBLE)
def test_the_cause_is_what_cannot_be_seen(name: str) -> None:
    assert "invisible characters" in (name_problem(clean_name(name), most=80) or "")


def test_the_cause_is_the_length() -> None:
    assert name_problem("x" * 81, most=80) == "Use at most 80 characters."
    assert name_problem("", most=80) == "Enter a name."
    assert name_problem("", most=80, required=False) is None
