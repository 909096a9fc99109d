"""How pages write durations, and where they cut what is too long."""

from __future__ import annotations

import pytest

from licenzy.portal.formatting import milliseconds, split_host, split_tail


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (10_011, "10 s"), (60_000, "60 s")]
)
def test_durations(count: int, words: str) -> None:
    assert milliseconds(count) == words


@pytest.mark.parametrize(
    "text", ["sub_0123456789abcdefghij", "größte-organisation/東京/0123456789", "ж" * 30]
)
def test_plain_text_is_cut_in_its_middle(text: str) -> None:
    assert split_tail(text, 10) == (text[:-10], text[-10:])


@pytest.mark.parametrize(
    "text",
    [
        "org-" + "שלום" * 8,
        "عميل" * 8 + "-0123456789",
        "user-0123456789-" + "e\N{COMBINING ACUTE ACCENT}" * 5,
        "user-0123456789\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}012345678",
        "a\N{RIGHT-TO-LEFT OVERRIDE}" + "b" * 30,
    ],
    ids=["hebrew", "arabic", "accents", "emoji", "override"],
)
def test_text_that_a_cut_would_scramble_is_cut_at_its_end(text: str) -> None:
    assert split_tail(text, 10) == (text, "")


def test_no_tail_is_wanted() -> None:
    assert split_tail("a sentence that is long enough", 0) == ("a sentence that is long enough", "")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.com:8443/a/b?c", ("https://example.com:8443", "/a/b?c")),
        ("https://example.com", ("https://example.com", "")),
        ("example.com/hook", ("example.com", "/hook")),
    ],
)
def test_the_host_of_an_address(url: str, parts: tuple[str, str]) -> None:
    assert split_host(url) == parts
