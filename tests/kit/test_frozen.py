"""Data that nobody changes any more."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from licenzy.kit.frozen import frozen

DATA = {"a": 1, "items": [{"b": [2, 3]}], "none": None}


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(a=2),
        lambda data: data.setdefault("c", 2),
        lambda data: data.pop("a"),
        lambda data: data.__delitem__("a"),
        lambda data: data.clear(),
        lambda data: data.__ior__({"a": 2}),
        lambda data: data["items"].append(1),
        lambda data: data["items"].__setitem__(0, 1),
        lambda data: data["items"][0].__setitem__("b", 1),
        lambda data: data["items"][0]["b"].sort(),
        lambda data: data["items"][0]["b"].__iadd__([1]),
    ],
)
def test_it_refuses_to_be_changed(change: Callable[[Any], Any]) -> None:
    data = frozen(DATA)
    with pytest.raises(TypeError):
        change(data)
    assert data == DATA


def test_it_is_plain_data_all_the_same() -> None:
    data = frozen(DATA)
    assert json.dumps(data) == json.dumps(DATA)
    assert {**data, "a": 2} == {**DATA, "a": 2}
    assert frozen(data) is data


def test_the_original_stays_what_it_was() -> None:
    original = {"items": [1]}
    data = frozen(original)
    original["items"].append(2)
    assert data == {"items": [1]}
