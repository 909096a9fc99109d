"""Ids: their shape, their order, that they never repeat."""

from __future__ import annotations

import os
import threading
import time
from itertools import pairwise

import pytest

from licenzy.kit import ids
from licenzy.kit.ids import has_shape, id_in, milliseconds_of, new_id
from tests.support.threads import join

NOON = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def own_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of long ago would be behind what this process has given out already."""
    monkeypatch.setattr(ids, "_sequence", ids._Sequence())


def rise(made: list[str]) -> bool:
    return all(earlier < later for earlier, later in pairwise(made))


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


def test_ids_of_one_millisecond_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOON)
    made = [new_id("x") for _ in range(20_000)]
    assert rise(made)
    assert {each[:12] for each in made} == {made[0][:12]}, "all of the one millisecond"


def test_ids_rise_while_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOON]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0])
    made = []
    for seconds in (0, -1, -3600, -1, 0, 1):
        clock[0] = NOON + seconds * 1_000_000_000
        made += [new_id("x") for _ in range(100)]
    assert rise(made)
    assert has_shape(made[-1], "x")


def test_ids_rise_when_the_tail_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOON)
    made = [new_id("x")]
    ids._sequence._tail = 2**64 - 3
    made += [new_id("x") for _ in range(3)]
    assert rise(made)
    assert all(has_shape(each, "x") for each in made)


def test_the_next_id_is_not_simply_the_one_after() -> None:
    made = [int(new_id("x")[-16:], 16) for _ in range(100)]
    assert len({later - earlier for earlier, later in pairwise(made)}) > 90


def test_threads_get_ids_that_rise_and_never_repeat() -> None:
    made: list[list[str]] = [[] for _ in range(8)]

    def make(mine: list[str]) -> None:
        mine.extend(new_id("x") for _ in range(12_500))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    join(*threads, seconds=60)
    assert [len(mine) for mine in made] == [12_500] * 8
    assert all(rise(mine) for mine in made)
    assert len({each for mine in made for each in mine}) == 100_000


def test_a_fork_has_a_sequence_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # In one millisecond, while another thread is just making one: the child must not wait for that thread.
    monkeypatch.setattr(time, "time_ns", lambda: NOON)
    before = new_id("x")
    children = []
    with ids._sequence._lock:
        for _ in range(3):
            told, tells = os.pipe()
            if not (child := os.fork()):
                try:
                    os.write(tells, " ".join(new_id("x") for _ in range(100)).encode())
                finally:
                    os._exit(0)
            os.close(tells)
            children.append((child, told))
    made = [new_id("x") for _ in range(100)]
    for child, told in children:
        with os.fdopen(told) as lines:
            in_child = lines.read().split()
        os.waitpid(child, 0)
        assert rise([before, *in_child])
        assert len(in_child) == 100
        made += in_child
    assert len(set(made)) == 400


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
    assert id_in(value, "prj") is None


def test_what_could_be_an_id_is_read_as_it_stands() -> None:
    made = new_id("prj")
    assert id_in(made, "prj") == made
    assert id_in(made, "con") is None


def test_an_id_holds_when_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOON)
    assert milliseconds_of(new_id("req")) == NOON // 1_000_000
