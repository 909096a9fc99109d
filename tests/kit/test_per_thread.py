"""What each thread has one of ends with its thread, and a fork's child leaves its parent's alone."""

from __future__ import annotations

import os
import threading

from licenzy.kit.per_thread import PerThread


class Counted:
    """Opens numbers, and notes which were closed by whom."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed: list[tuple[int, int]] = []
        self.each = PerThread(self._open, self._close)

    def _open(self) -> int:
        self.opened += 1
        return self.opened

    def _close(self, number: int) -> None:
        self.closed.append((number, threading.get_ident()))


def test_a_threads_own_is_closed_when_the_thread_ends() -> None:
    counted = Counted()

    def use() -> None:
        assert counted.each.get() == counted.each.get()

    for _ in range(200):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert counted.opened == 200
    assert [number for number, _thread in counted.closed] == list(range(1, 201))


def test_dropping_closes_once_and_opens_anew() -> None:
    counted = Counted()
    assert counted.each.drop() is None
    assert counted.each.get() == 1
    assert counted.each.drop() == 1
    assert counted.each.get() == 2
    counted.each.close()
    counted.each.close()
    assert [number for number, _thread in counted.closed] == [1, 2]
    assert counted.each.get() == 3


def test_the_end_closes_those_of_all_threads() -> None:
    counted, opened, go_on = Counted(), threading.Barrier(4), threading.Event()

    def use() -> None:
        counted.each.get()
        opened.wait(10)
        go_on.wait(10)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    opened.wait(10)
    counted.each.close()
    assert sorted(number for number, _thread in counted.closed) == [1, 2, 3]
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(counted.closed) == 3, "each once"


def test_a_forks_child_begins_without_any_and_closes_none_of_its_parents() -> None:
    counted = Counted()
    assert counted.each.get() == 1
    if not (child := os.fork()):
        own = counted.each.get() == 2 and not counted.closed
        counted.each.close()
        os._exit(0 if own and [number for number, _ in counted.closed] == [2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (counted.each.get(), counted.closed) == (1, [])
