"""Who waits for a thread: no kind of request keeps the others out, and what is too much is refused."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from licenzy.errors import Overloaded
from licenzy.server.limits import Queue
from licenzy.server.threads import BUSY_SWITCH_SECONDS, MOST_WAITING, Job, Threads
from tests.support.ports import wait_until


class Work:
    """Jobs that last until they are let go."""

    def __init__(self, threads: Threads) -> None:
        self.threads, self.go_on = threads, threading.Event()
        self.running: list[Queue] = []
        self.done: list[str] = []
        self.jobs: list[Job] = []

    def add(self, queue: Queue, name: str = "") -> Job:
        def work() -> None:
            self.running.append(queue)
            self.go_on.wait(10)
            self.done.append(name)

        job = Job(queue, time.monotonic(), work)
        self.jobs.append(job)
        self.threads.submit(job)
        return job

    def settled(self) -> dict[str, int]:
        """How many of each queue run, once nothing more begins."""

        def stands() -> bool:
            before = self._count()
            time.sleep(0.05)
            return self._count() == before

        wait_until(stands, seconds=5, what="settled")
        return self._count()

    def _count(self) -> dict[str, int]:
        return {queue.name: self.running.count(queue) for queue in Queue if queue in self.running}


@pytest.fixture
def make() -> Iterator[Callable[[int], Work]]:
    made: list[Work] = []

    def make(count: int) -> Work:
        threads = Threads(count)
        threads.open()
        made.append(Work(threads))
        return made[-1]

    yield make
    for work in made:
        work.go_on.set()
        work.threads.close()


@pytest.mark.parametrize(
    ("count", "queue", "most"),
    [
        (8, Queue.STRIPE, 4),
        (8, Queue.API, 5),
        (8, Queue.PAGES, 5),
        (8, Queue.WEBHOOKS, 5),
        (5, Queue.STRIPE, 2),
        (5, Queue.API, 2),
        (3, Queue.STRIPE, 1),
        (3, Queue.API, 1),
        (4, Queue.STRIPE, 1),
        (4, Queue.PAGES, 2),
    ],
)
def test_each_kind_leaves_threads_to_the_others(
    make: Callable[[int], Work], count: int, queue: Queue, most: int
) -> None:
    work = make(count)
    for _ in range(20):
        work.add(queue)
    assert work.settled() == {queue.name: most}
    kept = {Queue.WEBHOOKS, Queue.PAGES, *[Queue.API][: count - 3], *[Queue.STRIPE][: count - 4]}
    for other in kept - {queue}:
        assert work.add(other)
    others = work.settled()
    del others[queue.name]
    assert others == {other.name: 1 for other in kept - {queue}}
    work.go_on.set()
    wait_until(lambda: len(work.done) == len(work.jobs), seconds=5, what="all are done")


def test_first_come_first_served(make: Callable[[int], Work]) -> None:
    work = make(3)
    work.add(Queue.API, "first")
    work.settled()
    for number in range(20):
        work.add(Queue.API, str(number))
    work.go_on.set()
    wait_until(lambda: len(work.done) == 21, seconds=5, what="all are done")
    assert work.done == ["first", *map(str, range(20))]


def test_a_full_queue_refuses_and_another_does_not(make: Callable[[int], Work]) -> None:
    work = make(8)
    for _ in range(5):
        work.add(Queue.PAGES)
    work.settled()
    for _ in range(MOST_WAITING[Queue.PAGES]):
        work.add(Queue.PAGES)
    with pytest.raises(Overloaded):
        work.add(Queue.PAGES)
    work.add(Queue.WEBHOOKS)
    assert work.settled()["WEBHOOKS"] == 1


def test_what_has_not_begun_can_be_taken_back(make: Callable[[int], Work]) -> None:
    work = make(3)
    running = work.add(Queue.API)
    work.settled()
    waiting = work.add(Queue.API, "taken back")
    assert not work.threads.withdraw(running)
    assert work.threads.withdraw(waiting)
    assert not work.threads.withdraw(waiting)
    work.go_on.set()
    work.add(Queue.API, "last")
    wait_until(lambda: "last" in work.done, seconds=5, what="it is done")
    assert "taken back" not in work.done


def test_nothing_of_one_job_is_left_for_the_next(make: Callable[[int], Work]) -> None:
    from licenzy.kit import deadline

    work, seen = make(3), list[bool]()

    def note_level() -> None:
        seen.append(deadline.is_set())
        deadline._ends_at.set(1.0)

    for _ in range(9):
        work.threads.submit(Job(Queue.API, 0.0, note_level))
    wait_until(lambda: len(seen) == 9, seconds=5, what="all are done")
    assert not any(seen)


def test_the_loop_gets_the_interpreter_sooner_while_a_thread_works(make: Callable[[int], Work]) -> None:
    usual, work = sys.getswitchinterval(), make(4)
    work.add(Queue.PAGES)
    work.settled()
    assert sys.getswitchinterval() == pytest.approx(BUSY_SWITCH_SECONDS)
    work.go_on.set()
    wait_until(lambda: sys.getswitchinterval() == usual, seconds=5, what="it is as long as before")
