"""Versions of terms in words."""

from __future__ import annotations

from typing import Any

import pytest

from licenzy.catalog.term_differences import term_differences, term_text


def test_only_what_differs_is_listed() -> None:
    before = {"features": ["a"], "grace_days": 3, "units": None}
    after = {"features": ["a", "b"], "grace_days": 3, "units": None, "limits": {"projects": 3}}
    assert term_differences(before, after) == [
        ("features", "a", "a, b"),
        ("limits", "none", "projects: 3"),
    ]
    adding = {"limits": {"projects": 3}, "adds": True}
    assert term_differences({}, {**adding, "adds": False}) == [("limits", "none", "projects: 3")]
    assert term_differences({}, adding) == [
        ("limits add to those of other products", "no", "yes"),
        ("limits", "none", "projects: 3"),
    ]
    assert term_differences({"grace_days": 0}, {"grace_days": 7}) == [("grace days", "0", "7")]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("features", [], "none"),
        ("units", 12_000, "12,000"),
        ("units", None, "none"),
        ("duration_seconds", 86_400, "1 day"),
        ("duration_seconds", 7_200, "2 hours"),
        ("adds", True, "yes"),
        ("adds", False, "no"),
        ("limits", {}, "none"),
        ("limits", {"seats": None, "projects": 1_000}, "projects: 1,000, seats: unlimited"),
        (
            "included",
            [{"unit": "images", "units": 500, "every": "month", "rollover": None, "low_units": 50}],
            "images: 500 each month, usage.low at 50",
        ),
        (
            "included",
            [
                {"unit": "a", "units": 1, "every": "day", "rollover": {"at_most": 20}, "trial_units": 5},
                {"unit": "b", "units": 2, "every": "period", "rollover": {"at_most": None}},
            ],
            "a: 1 each day, at most 20 carry over, 5 in a trial; b: 2 each period, all unused carry over",
        ),
    ],
)
def test_values_are_words(key: str, value: Any, text: str) -> None:
    assert term_text(key, value) == text
