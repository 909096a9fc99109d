"""Ids: their shape, their order, that they never repeat."""

from __future__ import annotations

import time

import pytest

from licenzy.kit.ids import has_shape, new_id


def test_an_id_has_its_prefix_and_26_characters() -> None:
    made = new_id("prj")
    assert has_shape(made, "prj")
    assert len(made) == len("prj_") + 26
    assert made.isascii()
    assert made == made.lower()


def test_ids_sort_by_the_time_of_their_making(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = [0, 1, 1023, 1024, 1_700_000_000_000, 1_700_000_000_001, 2**48 - 1]
    made = []
    for instant in milliseconds:
        monkeypatch.setattr(time, "time_ns", lambda instant=instant: instant * 1_000_000 + 999_999)
        made.append(new_id("x"))
    assert made == sorted(made)
    assert {len(each) for each in made} == {28}


def test_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({new_id("x") for _ in range(20_000)}) == 20_000


@pytest.mark.parametrize(
    "value",
    [
        "",
        "prj",
        "prj_",
        "prj_" + "0" * 25,
        "prj_" + "0" * 27,
        "prj_" + "0" * 25 + "u",  # not a letter of Crockford's alphabet
        "prj_" + "0" * 25 + "A",
        "prj_" + "0" * 25 + "٠",
        "prj_" + "0" * 25 + "\n",
        "sub_" + "0" * 26,
        "prj-" + "0" * 26,
        " prj_" + "0" * 26,
        "x_prj_" + "0" * 26,
    ],
)
def test_what_is_no_id(value: str) -> None:
    assert not has_shape(value, "prj")
