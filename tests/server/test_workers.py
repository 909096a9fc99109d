"""A worker that dies is replaced, whatever it died of, and the others go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from licenzy.server.processes import JoinableByMany, Replacing
from tests.server.conftest import Shop
from tests.support.installation import Installation, Running, alive
from tests.support.ports import wait_until


def test_who_keeps_dying_is_started_after_growing_pauses() -> None:
    replacing, now, pauses = Replacing(), 100.0, []
    for _ in range(8):
        replacing.died(1, now)
        pauses.append(replacing.seconds(now))
        now += pauses[-1] or 0.0
        assert replacing.due(now) == [1]
        assert replacing.seconds(now) is None
    assert pauses == pytest.approx([0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    replacing.died(1, now + 60)
    assert replacing.due(now + 60) == [1], "one that has lived for long is started at once"


def test_one_that_waits_does_not_keep_another_waiting() -> None:
    replacing = Replacing()
    for now in (0.0, 1.0, 2.0):
        replacing.died(1, 100 + now)
        replacing.due(110)
    replacing.died(1, 110.5)
    replacing.died(2, 110.6)
    assert replacing.due(110.6) == [2]
    assert replacing.seconds(110.6) == pytest.approx(0.7)


def test_one_that_has_ended_is_not_taken_for_alive_while_another_thread_collects_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waitpid = os.waitpid

    def slow(pid: int, options: int) -> tuple[int, int]:
        collected = waitpid(pid, options)
        time.sleep(0.2)
        return collected

    monkeypatch.setattr(os, "waitpid", slow)
    worker = JoinableByMany(multiprocessing.get_context("spawn").Process(target=time.time))
    worker.start()
    watcher = threading.Thread(target=worker.join)
    watcher.start()
    worker.join(30)
    assert not worker.is_alive()
    watcher.join(10)
    assert not watcher.is_alive()


@pytest.mark.slow
def test_new_connections_are_answered_whichever_workers_are_killed(
    shop: Shop, start: Callable[[Installation, str], Running]
) -> None:
    shop.environ["LICENZY_WORKERS"] = "2"
    web = start(shop, "web")

    def wait_for_both() -> None:
        wait_until(lambda: listeners(shop.port) == 2, seconds=30, what="both workers listen")

    wait_for_both()
    for _ in range(3):
        victim, other = workers(web)
        os.kill(victim, signal.SIGKILL)
        # Its first thread may be gone before the others, and with them its sockets.
        wait_until(lambda: not Path(f"/proc/{victim}").exists(), seconds=10, what="it is gone")  # noqa: B023
        for _ in range(20):  # The other one listens, and nobody is sent to the one that is gone.
            assert httpx.get(f"{shop.url}/healthz", timeout=5).status_code == 200
        wait_for_both()
        assert other in workers(web)
    for _ in range(2):  # One of them twice in a row.
        victim = max(workers(web))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{victim}").exists(), seconds=10, what="it is gone")  # noqa: B023
        assert httpx.get(f"{shop.url}/healthz", timeout=5).status_code == 200
        wait_for_both()
    for each in workers(web):
        os.kill(each, signal.SIGKILL)
    began = time.monotonic()
    wait_until(shop.is_well, seconds=15, what="the product answers again")
    assert time.monotonic() - began < 3
    assert web.process.poll() is None
    assert shop.checks() == 200


def workers(web: Running) -> list[int]:
    """The processes that answer, oldest first."""
    return sorted(alive(web.children()))


def listeners(port: int) -> int:
    """How many sockets listen on this port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1] == f"0100007F:{port:04X}" and row[3] == "0A" for row in rows)
