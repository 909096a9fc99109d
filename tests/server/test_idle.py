"""Connections that say nothing, or half of something, are ended in their time and keep nobody out."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from licenzy.server.limits import IDLE_SECONDS
from tests.server.conftest import Shop
from tests.server.raw import RawConnection, request
from tests.server.test_workers import listeners
from tests.support.databases import SqliteFiles
from tests.support.installation import Installation, Running
from tests.support.ports import wait_until

pytestmark = pytest.mark.slow

Start = Callable[[Installation, str], Running]
HALF_SENT = 120
FEW = 256
CHECK = b'{"subject_ref": "user_1"}'


def test_idle_connections_below_what_is_accepted_keep_nobody_waiting(shop: Shop, start: Start) -> None:
    shop.environ |= {"LICENZY_WORKERS": "2", "LICENZY_CONNECTIONS": "512"}
    web = start(shop, "web")
    web.wait_until_it_answers(shop.port)
    wait_until(lambda: listeners(shop.port) == 2, seconds=30, what="both workers listen")
    with ExitStack() as lines:
        for _ in range(2 * 512 - 200):
            lines.enter_context(RawConnection(shop.port))
        for _ in range(20):
            began = time.monotonic()
            assert httpx.get(f"{shop.url}/healthz", timeout=5).status_code == 200
            assert shop.checks() == 200
            assert time.monotonic() - began < 2


@pytest.mark.timeout(150)
def test_what_is_silent_for_long_is_ended(
    tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles, start: Start
) -> None:
    """Four proofs that take as long as the limit, side by side."""

    def begin(name: str, **settings: str) -> tuple[Shop, Running]:
        folder: Path = tmp_path_factory.mktemp(name)
        shop = Shop(folder, sqlite_files.fresh(folder))
        shop.environ |= settings
        return shop, start(shop, "web")

    roomy, full = begin("roomy"), begin("full", LICENZY_CONNECTIONS=str(FEW))
    for shop, web in (roomy, full):
        web.wait_until_it_answers(shop.port)
    with ThreadPoolExecutor(4) as proofs:
        told = [
            proofs.submit(half_sent_heads_are_ended, roomy[0]),
            proofs.submit(a_quiet_connection_still_works, roomy[0]),
            proofs.submit(those_that_never_read_are_ended, roomy[0]),
            proofs.submit(idle_ones_above_the_limit_give_way, full[0]),
        ]
        for each in told:
            each.result()
    for _shop, web in (roomy, full):
        assert web.said() == ""


def half_sent_heads_are_ended(shop: Shop) -> None:
    with ExitStack() as lines:
        halves = [
            lines.enter_context(RawConnection(shop.port, b"POST /v1/access/check HTTP/1.1\r\nHo", timeout=90))
            for _ in range(HALF_SENT)
        ]
        until = halves[0].began + IDLE_SECONDS - 2
        while time.monotonic() < until:
            began = time.monotonic()
            assert shop.checks() == 200
            assert httpx.get(f"{shop.url}/sign-in", timeout=5).status_code == 200
            assert time.monotonic() - began < 2
            time.sleep(1)
        assert all(IDLE_SECONDS - 2 < half.ends() < IDLE_SECONDS + 3 for half in halves)


def a_quiet_connection_still_works(shop: Shop) -> None:
    sent = request(
        "POST /v1/access/check",
        f"Authorization: Bearer {shop.token}",
        "Content-Type: application/json",
        body=CHECK,
    )
    with RawConnection(shop.port) as line:
        for silence in (61, 0):
            line.send(sent)
            assert line.hear().status == 200
            time.sleep(silence)


def those_that_never_read_are_ended(shop: Shop) -> None:
    large = request("GET /static/vendor/inter/inter-latin-ext-wght-normal.woff2")
    with ExitStack() as lines:
        # Many answers each, far more than what the system keeps for a client that reads later.
        deaf = {
            lines.enter_context(RawConnection(shop.port, large * 400)).socket.getsockname()[1]
            for _ in range(20)
        }
        began = time.monotonic()
        time.sleep(5)
        assert connected_to(shop.port) >= deaf
        wait_until(
            lambda: not connected_to(shop.port) & deaf, seconds=IDLE_SECONDS + 20, what="they are ended"
        )
        assert time.monotonic() - began > IDLE_SECONDS - 5


def connected_to(port: int) -> set[int]:
    """The ports of the clients that this one is connected to."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(row[2].partition(":")[2], 16)
        for row in rows
        if row[1] == f"0100007F:{port:04X}" and row[3] == "01"
    }


def idle_ones_above_the_limit_give_way(shop: Shop) -> None:
    with ExitStack() as lines:
        for _ in range(FEW + 200):
            lines.enter_context(RawConnection(shop.port))
        began = time.monotonic()
        assert httpx.get(f"{shop.url}/healthz", timeout=IDLE_SECONDS + 10).status_code == 200
        assert time.monotonic() - began < IDLE_SECONDS + 2
