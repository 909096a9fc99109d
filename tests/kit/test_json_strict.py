"""Bodies: one strict object, or NotStrictJson and nothing else."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licenzy.kit.json_strict import MAX_DEPTH, NotStrictJson, parse_object

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
objects = st.dictionaries(st.text(), values, max_size=5)


def nested(levels: int) -> bytes:
    """An object that is `levels` deep, itself included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b'{"a":1',
        b'{"a":1}}',
        b'{"a":1} {"b":2}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":0x10}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\\ud8"}',
        b"/* no */ {}",
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        '{"a":"é"}'.encode("latin-1"),
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":1}\x00',
        b"\xc2\xa0{}",
        "{\u2028}".encode(),
    ],
)
def test_malformed_bodies(raw: bytes) -> None:
    with pytest.raises(NotStrictJson):
        parse_object(raw)


@pytest.mark.parametrize("raw", [b"[]", b"[{}]", b'"a"', b"1", b"1.5", b"true", b"null", b'[{"a":1}]'])
def test_the_top_level_must_be_an_object(raw: bytes) -> None:
    with pytest.raises(NotStrictJson, match="not an object"):
        parse_object(raw)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 5000, "1e" + "9" * 50]
)
def test_numbers_that_json_does_not_have(number: str) -> None:
    for raw in (f'{{"a":{number}}}', f'{{"a":[{{"b":{number}}}]}}', number):
        with pytest.raises(NotStrictJson):
            parse_object(raw.encode())


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"a":1,"a":2}}',
        b'{"x":[{"a":null,"a":null}]}',
        b'{"":1,"":2}',
    ],
)
def test_a_key_may_stand_once_in_an_object(raw: bytes) -> None:
    with pytest.raises(NotStrictJson, match="twice"):
        parse_object(raw)


def test_the_same_key_in_two_objects_is_fine() -> None:
    assert parse_object(b'{"a":{"a":1},"b":{"a":2}}') == {"a": {"a": 1}, "b": {"a": 2}}


def test_nesting_ends_at_32() -> None:
    assert parse_object(nested(MAX_DEPTH))
    with pytest.raises(NotStrictJson, match="32 levels"):
        parse_object(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "raw", [b"[" * 60_000, b'{"a":' * 60_000, b"{" * 60_000, b"]" * 90_000 + b"[" * 90_000]
)
def test_sixty_thousand_brackets(raw: bytes) -> None:
    with pytest.raises(NotStrictJson):
        parse_object(raw)


@pytest.mark.parametrize(
    "text", ["[" * 1000, '"[' * 100, '\\"[{' * 100, "\\" * 99 + "[" * 99, "]}" * 50 + "[{" * 50]
)
def test_brackets_inside_strings_are_no_nesting(text: str) -> None:
    assert parse_object(json.dumps({"a": text, text: 1}).encode()) == {"a": text, text: 1}


def test_many_shallow_brackets_are_no_nesting() -> None:
    value = {"a": [[] for _ in range(500)], "b": [{} for _ in range(500)]}
    assert parse_object(json.dumps(value).encode()) == value


def test_numbers_and_truth_keep_their_types() -> None:
    found = parse_object(b'{"a":1,"b":1.0,"c":true,"d":9223372036854775808,"e":-0.0}')
    assert [type(value) for value in found.values()] == [int, float, bool, int, float]
    assert found["d"] == 2**63


@settings(database=None, deadline=None)
@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_what_json_writes_is_read_again(value: dict[str, Any], plain: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    assert parse_object(text.encode()) == value


@settings(database=None, deadline=None, max_examples=300)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ 01eE+-.ntf\u00e9', max_size=80).map(str.encode))
def test_bytes_are_an_object_or_refused(raw: bytes) -> None:
    with contextlib.suppress(NotStrictJson):
        assert isinstance(parse_object(raw), dict)


@settings(database=None, deadline=None, max_examples=300)
@given(objects, st.data())
def test_a_broken_body_is_an_object_or_refused(value: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotStrictJson):
        assert isinstance(parse_object(bytes(raw)), dict)


def test_a_refusal_repeats_nothing_of_the_body() -> None:
    secret = "sk_test_51abcdef"
    for raw in (f'{{"a":"{secret}"', f'{{"{secret}":1,"{secret}":2}}', f'{{"a":{secret}}}', f'["{secret}"]'):
        with pytest.raises(NotStrictJson) as refused:
            parse_object(raw.encode())
        assert not re.search(secret, str(refused.value))
