"""A fixed number of threads that answer requests, and the queues of those that wait for one."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping

from licenzy.errors import Overloaded
from licenzy.server.limits import Queue

MOST_WAITING: Mapping[Queue, int] = {
    Queue.WEBHOOKS: 256,
    Queue.STRIPE: 128,
    Queue.API: 128,
    Queue.PAGES: 128,
}
BUSY_SWITCH_SECONDS = 0.0005
"""How long a thread that renders a page may keep the interpreter from the loop, which wants it for a moment.

A check gives it up at each step of its statement. With Python's own five milliseconds, checks were three
times as slow while pages were rendered; while no thread works, the short time costs them a fifth.
"""


class Job:
    """A request for a thread. `work` must not raise; it says itself to whoever waits that it is done."""

    __slots__ = ("arrived", "begun", "queue", "work")

    def __init__(self, queue: Queue, arrived: float, work: Callable[[], None]) -> None:
        self.queue, self.arrived, self.work = queue, arrived, work
        self.begun = False
        """Whether a thread has taken it."""


class Threads:
    """The threads of one process, which live as long as it does, from `open` to `close`.

    Who comes first is served first, except that

    * calls that may wait for Stripe hold at most half of the threads, and
    * one thread each is kept free for webhooks, pages and, where there are enough, calls of the API and
      those that may wait for Stripe, while none of that kind runs: no kind keeps the others out, however slow
      it is.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._most = {Queue.STRIPE: max(1, count // 2)}
        # Fewer than there are threads: else none could take the first of a kind that has none kept.
        self._kept = [Queue.WEBHOOKS, Queue.PAGES, Queue.API, Queue.STRIPE][: count - 1]
        self._waiting: dict[Queue, deque[Job]] = {queue: deque() for queue in Queue}
        self._running = dict.fromkeys(Queue, 0)
        self._idle_switch_seconds = sys.getswitchinterval()
        self._changed = threading.Condition()
        self._closing = False

    def open(self) -> None:
        """Start the threads."""
        for number in range(self._count):
            # One that still waits for Stripe when the process ends does not keep it.
            threading.Thread(target=self._work, name=f"answers-{number}", daemon=True).start()

    def close(self) -> None:
        """Have each thread end once it has nothing to do. What waits for one is not begun."""
        with self._changed:
            self._closing = True
            for jobs in self._waiting.values():
                jobs.clear()
            self._changed.notify_all()

    def submit(self, job: Job) -> None:
        """Have a thread do it. Raises Overloaded when too many of its kind wait already."""
        with self._changed:
            waiting = self._waiting[job.queue]
            if len(waiting) >= MOST_WAITING[job.queue]:
                raise Overloaded
            waiting.append(job)
            self._changed.notify()

    def withdraw(self, job: Job) -> bool:
        """Take back what no thread has begun; whether that was so."""
        with self._changed:
            if job.begun:
                return False
            try:
                self._waiting[job.queue].remove(job)
            except ValueError:
                return False
            return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while (job := self._take()) is None:
                    if self._closing:
                        return
                    self._changed.wait()
            # In a context of its own: nothing of one request is left for the next.
            contextvars.Context().run(job.work)
            with self._changed:
                self._running[job.queue] -= 1
                if not any(self._running.values()):
                    sys.setswitchinterval(self._idle_switch_seconds)
            del job

    def _take(self) -> Job | None:
        """What this thread may begin now: the oldest of those that may."""
        free = self._count - sum(self._running.values())
        waiting = [each for each in self._waiting.values() if each]
        for jobs in sorted(waiting, key=lambda each: each[0].arrived):
            queue = jobs[0].queue
            kept = sum(not self._running[each] for each in self._kept if each is not queue)
            if free > kept and self._running[queue] < self._most.get(queue, self._count):
                job = jobs.popleft()
                job.begun = True
                if not any(self._running.values()):
                    sys.setswitchinterval(BUSY_SWITCH_SECONDS)
                self._running[queue] += 1
                return job
        return None
