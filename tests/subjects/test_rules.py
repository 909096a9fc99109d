from __future__ import annotations

import pytest

from licenzy.subjects.rules import folded, search_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MÜLLER", "muller"),
        ("Mu\u0308ller", "muller"),
        ("Straße", "strasse"),
        ("ﬁnance", "finance"),
        ("ＡＣＭＥ", "acme"),
        ("℡", "tel"),
        ("İstanbul", "istanbul"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("søren", "søren"),
        ("שָׁלוֹם", "שלום"),
        ("a\u200bd\u200ea@example.com", "ada@example.com"),
        ("❤\ufe0f", "❤"),
        ("\u0301", ""),
        ("50%_\\/", "50%_\\/"),
    ],
)
def test_spellings_that_searches_treat_as_equal(text: str, expected: str) -> None:
    assert folded(text) == expected
    assert folded(folded(text)) == expected


def test_a_ref_and_an_address_are_a_line_each() -> None:
    assert search_text("Zoë", "Ada@Example.com") == "zoe\nada@example.com"
    assert search_text("Zoë", None) == "zoe\n"
