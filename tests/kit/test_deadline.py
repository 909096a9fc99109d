"""One instant bounds all waits of a caller; what others take is not counted."""

from __future__ import annotations

import threading
import time

from licenzy.kit import deadline


def test_without_a_deadline_each_wait_has_the_same_time() -> None:
    first = deadline.ends_at()
    time.sleep(0.01)
    assert deadline.ends_at() > first
    assert 14.9 < deadline.seconds_left() <= deadline.WAIT_SECONDS


def test_a_deadline_stands_still_while_somebody_else_is_waited_for() -> None:
    with deadline.within(3):
        before = deadline.ends_at()
        assert deadline.ends_at() == before
        with deadline.standing_still():
            time.sleep(0.05)
        assert 0.05 <= deadline.ends_at() - before < 1
        with deadline.within(0.01):
            time.sleep(0.02)
            assert deadline.seconds_left() == 0
        assert deadline.seconds_left() > 2
    assert deadline.seconds_left() > 14


def test_a_deadline_is_its_threads_alone() -> None:
    seen: list[float] = []
    with deadline.within(0.5):
        thread = threading.Thread(target=lambda: seen.append(deadline.seconds_left()))
        thread.start()
        thread.join()
    assert seen[0] > 14
