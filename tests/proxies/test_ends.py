"""What a proxy's clients see when a connection, a worker or all of Licenzy ends."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest

from tests.proxies.conftest import ProxiedShop
from tests.support.databases import SqliteFiles
from tests.support.installation import STOP_SECONDS, alive
from tests.support.ports import wait_until
from tests.support.proxies import PROXIES, Proxy
from tests.support.web_processes import web_processes

pytestmark = pytest.mark.slow

SILENCES = (58.0, 60.0, 61.5)
"""Seconds: shortly before, when, and after the proxies end an idle connection to Licenzy."""
CLIENTS, EACH = 8, 25
NOTICED_SECONDS = 0.25
"""Within which the proxy has noticed that connections were closed."""


@pytest.fixture
def own_shop(tmp_path: Path, sqlite_files: SqliteFiles) -> ProxiedShop:
    return ProxiedShop(tmp_path, sqlite_files.fresh(tmp_path))


@pytest.fixture(params=PROXIES)
def own_proxy(
    request: pytest.FixtureRequest, own_shop: ProxiedShop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with PROXIES[request.param](own_shop.port, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


def test_a_request_after_a_silence_is_answered(
    shop: ProxiedShop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each silence has a proxy of its own, whose connections nobody else uses meanwhile."""
    with ExitStack() as running:
        silent = {
            (name, seconds): running.enter_context(begin(shop.port, tmp_path_factory.mktemp(name)))
            for (name, begin), seconds in product(PROXIES.items(), SILENCES)
        }
        since = {}
        for of, proxy in silent.items():
            with proxy.client() as client:
                assert shop.check(client).status_code == 200
            since[of] = time.monotonic()

        def after(of: tuple[str, float]) -> list[int]:
            time.sleep(since[of] + of[1] - time.monotonic())
            with silent[of].client() as client:
                return [shop.check(client).status_code for _ in range(3)]

        with ThreadPoolExecutor(len(silent)) as at_once:
            assert dict(zip(silent, at_once.map(after, silent), strict=True)) == dict.fromkeys(
                silent, [200] * 3
            )


def test_only_what_was_under_way_is_lost_with_a_worker(own_shop: ProxiedShop, own_proxy: Proxy) -> None:
    answered: list[tuple[float, int]] = []
    enough, over = threading.Event(), threading.Event()

    def ask(number: int) -> None:
        with own_proxy.client(f"127.0.0.{100 + number}") as client:
            for number_of_these in itertools.count(1):
                begun = time.monotonic()
                answered.append((begun, own_shop.check(client).status_code))
                if len(answered) >= CLIENTS * EACH // 2:
                    enough.set()
                if number_of_these >= EACH and over.is_set():
                    return

    with own_shop.serving() as running:
        wait_until(lambda: len(web_processes(running.process.pid)) == 2, seconds=30, what="both run")
        with own_proxy.client() as client:
            wait_until(lambda: own_shop.check(client).status_code == 200, seconds=30, what="it answers")
        with ThreadPoolExecutor(CLIENTS) as at_once:
            asking = [at_once.submit(ask, number) for number in range(CLIENTS)]
            try:
                assert enough.wait(60)
                victim = web_processes(running.process.pid)[0]
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda: not alive([victim]), seconds=10, what="the worker is gone")
                gone = time.monotonic() + NOTICED_SECONDS
                wait_until(lambda: time.monotonic() > gone + 0.5, seconds=5, what="more was asked")
            finally:
                over.set()
            for each in asking:
                each.result(60)
        lost = [begun for begun, status in answered if status != 200]
        assert len(answered) >= CLIENTS * EACH == 200
        assert {status for _, status in answered} <= {200, 502}
        assert any(begun > gone for begun, _ in answered)
        assert all(begun < gone for begun in lost)
        # One that was under way, and one for which the proxy took a connection that had just ended.
        assert len(lost) <= 2 * CLIENTS


def test_stopping_does_not_wait_for_the_proxy(own_shop: ProxiedShop, own_proxy: Proxy) -> None:
    stopped = threading.Event()
    statuses: set[int] = set()

    def ask(number: int) -> None:
        with own_proxy.client(f"127.0.0.{120 + number}") as client:
            while not stopped.is_set():
                statuses.add(own_shop.check(client).status_code)

    with own_shop.serving() as running, ThreadPoolExecutor(4) as at_once, own_proxy.client() as client:
        wait_until(lambda: own_shop.check(client).status_code == 200, seconds=30, what="it answers")
        asking = [at_once.submit(ask, number) for number in range(4)]
        try:
            time.sleep(0.5)
            running.process.terminate()
            assert running.process.wait(STOP_SECONDS + 5) == 0, running.said()
        finally:
            stopped.set()
        for each in asking:
            each.result(20)
        assert 200 in statuses
        assert statuses <= {200, 502, 503}
        began = time.monotonic()
        assert own_shop.check(client).status_code == 502
        assert time.monotonic() - began < 5
    with own_shop.serving(), own_proxy.client() as client:
        wait_until(lambda: own_shop.check(client).status_code == 200, seconds=30, what="it answers again")
