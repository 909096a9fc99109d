"""The front over real connections: large answers, queues, clients that go away, and its stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server.conftest import Shop
from tests.server.raw import RawAnswer, RawConnection, ask, request
from tests.server.slow_routes import ECHO, LARGE, RAISES_EXIT, SECONDS_LEFT, STARTED, WAIT
from tests.support.databases import SqliteFiles
from tests.support.installation import ROOT
from tests.support.ports import answers, wait_until

pytestmark = pytest.mark.slow

THREADS = 8
MOST_OF_ONE_KIND = THREADS - 3
"""One thread is kept free for each of the other three kinds."""


@dataclass
class Slow:
    """A running server with slow routes."""

    shop: Shop
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return self.shop.port

    def log(self) -> str:
        return (self.shop.folder / "server.log").read_text()

    def started(self) -> list[str]:
        """The labels of the waits that a thread has started."""
        return ask(self.port, request(f"GET {STARTED}")).body.decode().split()

    def wait_until_started(self, label: str, number: int) -> None:
        """Wait until at least so many waits have started whose labels begin like this."""
        wait_until(
            lambda: sum(each.startswith(label) for each in self.started()) >= number,
            seconds=5,
            what=f"{number} waits of {label} have started",
        )


@contextmanager
def slow_server(folder: Path, sqlite_files: SqliteFiles) -> Iterator[Slow]:
    shop = Shop(folder, sqlite_files.fresh(folder))
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.server.slow_routes"],
            cwd=ROOT,
            env=shop.environ,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: answers(shop.port), seconds=30, what="it answers")
        yield Slow(shop, process)
    finally:
        process.terminate()
        try:
            process.wait(12)
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in (folder / "server.log").read_text()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles) -> Iterator[Slow]:
    """For tests that leave nothing waiting."""
    with slow_server(tmp_path_factory.mktemp("shared"), sqlite_files) as slow:
        yield slow


@pytest.fixture
def own(tmp_path: Path, sqlite_files: SqliteFiles) -> Iterator[Slow]:
    with slow_server(tmp_path, sqlite_files) as slow:
        yield slow


def wait_for(kind: str, seconds: float, label: str) -> bytes:
    return request(f"POST {WAIT[kind]}/{seconds:.1f}/{label}")


@pytest.mark.parametrize("mib", [1, 8, 9, 40])
def test_an_answer_may_be_large(shared: Slow, mib: int) -> None:
    whole = b"\r\n0123456789abcd" * (65_536 * mib)
    with RawConnection(shared.port) as line:
        for _ in range(2):
            line.send(request(f"GET {LARGE}/{mib}"))
            heard = line.hear()
            assert (heard.status, heard.body == whole) == (200, True)
            assert heard.headers["x-content-type-options"] == "nosniff"
        line.send(request(f"HEAD {LARGE}/{mib}"))
        head = line.hear(is_head=True)
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(whole)))
        line.send(request("GET /healthz"))
        assert line.hear().status == 200


def test_who_hangs_at_stripe_leaves_half_of_the_threads(shared: Slow) -> None:
    with ExitStack() as lines:
        for number in range(2 * THREADS):
            lines.enter_context(RawConnection(shared.port, wait_for("stripe", 3, f"hangs{number}")))
        shared.wait_until_started("hangs", THREADS // 2)
        for kind in ("api", "pages", "webhooks"):
            began = time.monotonic()
            assert ask(shared.port, wait_for(kind, 0, "quick")).body == b"quick"
            assert time.monotonic() - began < 2
        assert sum(label.startswith("hangs") for label in shared.started()) == THREADS // 2
    time.sleep(3)
    assert sum(label.startswith("hangs") for label in shared.started()) == THREADS // 2, "they had gone"


def test_who_waits_too_long_or_comes_when_too_many_wait_is_refused(own: Slow) -> None:
    with ThreadPoolExecutor(300) as clients, ExitStack() as hanging:
        for number in range(THREADS):
            hanging.enter_context(RawConnection(own.port, wait_for("api", 9, f"hangs{number}")))
        own.wait_until_started("hangs", MOST_OF_ONE_KIND)
        began = time.monotonic()

        def call(number: int) -> tuple[RawAnswer, float]:
            return ask(own.port, wait_for("api", 0, f"w{number}")), time.monotonic() - began

        told = list(clients.map(call, range(200)))
        assert {(heard.status, heard.code) for heard, _ in told} == {(503, "overloaded")}
        assert all(int(heard.headers["retry-after"]) >= 1 for heard, _ in told)
        at_once = sum(seconds < 3 for _, seconds in told)
        assert 50 <= at_once <= 75, "about 128 fit in"
        assert all(seconds < 7 for _, seconds in told)
        assert all(seconds > 4.8 for _, seconds in told if seconds > 3)
        assert ask(own.port, wait_for("pages", 0, "page")).body == b"page", "the other kinds go on"
    time.sleep(9)
    assert not [label for label in own.started() if label.startswith("w")], "nothing refused was begun"


def test_the_time_in_a_queue_counts(own: Slow) -> None:
    with ExitStack() as hanging:
        for number in range(THREADS):
            hanging.enter_context(RawConnection(own.port, wait_for("api", 2, f"hangs{number}")))
        own.wait_until_started("hangs", MOST_OF_ONE_KIND)
        assert 1 < float(ask(own.port, request(f"GET {SECONDS_LEFT}")).body) < 3.5
    assert 4 < float(ask(own.port, request(f"GET {SECONDS_LEFT}")).body) <= 5


def test_who_has_gone_is_not_begun(own: Slow) -> None:
    with ExitStack() as hanging:
        for number in range(THREADS):
            hanging.enter_context(RawConnection(own.port, wait_for("api", 2, f"hangs{number}")))
        own.wait_until_started("hangs", MOST_OF_ONE_KIND)
        for number in range(20):
            RawConnection(own.port, wait_for("api", 0, f"gone{number}")).close()
        stays = hanging.enter_context(RawConnection(own.port, wait_for("api", 0, "stays")))
        assert stays.hear().body == b"stays"
    assert not [label for label in own.started() if label.startswith("gone")]


def test_a_call_is_answered_on_the_loop_even_when_all_threads_hang(own: Slow) -> None:
    with ExitStack() as hanging:
        for kind in WAIT:
            for number in range(THREADS):
                hanging.enter_context(RawConnection(own.port, wait_for(kind, 2, f"{kind}{number}")))
        own.wait_until_started("", THREADS)
        began = time.monotonic()
        headers = (
            "X-Once: a",
            "X-Twice: a",
            "x-twice: b",
            "X_Never: c",
            "X-Odd: \xe9",
            "X-Forwarded-For: 1.2.3.4",
        )
        heard = ask(own.port, request(f"POST {ECHO}?a=%20b", *headers, body=b"{}"))
        assert ask(own.port, request("GET /healthz")).status == 200
        assert time.monotonic() - began < 1
    told = heard.json()
    assert 0 <= told.pop("age") < 1
    assert told == {
        "opened": True,
        "method": "POST",
        "path": ECHO,
        "query": "a=%20b",
        "body": "{}",
        "once": "a",
        "twice": "a,b",
        "never": None,
        "odd": "\ufffd",
    }
    assert heard.headers["x-content-type-options"] == "nosniff"
    assert heard.headers["server"] == "Licenzy"


def test_what_is_not_answered_on_the_loop_goes_to_flask(own: Slow) -> None:
    assert ask(own.port, request(f"POST {ECHO}", "X-To-Flask: 1")).body == b"by Flask"
    assert ask(own.port, request(f"GET {ECHO}")).code == "method_not_allowed"
    elsewhere = request(f"POST {ECHO}").replace(b"Host: 127.0.0.1", b"Host: evil.example")
    assert ask(own.port, elsewhere).status == 400
    assert own.log() == ""
    failed = ask(own.port, request(f"POST {ECHO}", "X-Fail: 1"))
    assert (failed.status, failed.code) == (500, "internal_error")
    assert "on purpose" in own.log()
    (own.shop.folder / "server.log").write_text("")


def test_a_webhook_may_wait_for_longer(own: Slow) -> None:
    with ExitStack() as hanging:
        for number in range(THREADS):
            hanging.enter_context(RawConnection(own.port, wait_for("webhooks", 6.5, f"hangs{number}")))
        own.wait_until_started("hangs", MOST_OF_ONE_KIND)
        began = time.monotonic()
        heard = ask(own.port, wait_for("webhooks", 0, "late"))
        assert heard.body == b"late"
        assert time.monotonic() - began > 5


def test_a_stop_refuses_what_is_half_sent_and_finishes_what_has_begun(own: Slow) -> None:
    with ExitStack() as lines:
        half = [
            lines.enter_context(RawConnection(own.port, request(f"POST {path}", body=b"{", length=100)))
            for path in ("/v1/access/check", "/sign-in", "/v1/webhooks/stripe/tenant") * 4
        ]
        whole = lines.enter_context(RawConnection(own.port, wait_for("api", 3, "whole")))
        lines.enter_context(RawConnection(own.port, b"GET /healthz HTTP/1.1\r\nHo"))
        lines.enter_context(RawConnection(own.port))
        own.wait_until_started("whole", 1)
        began = time.monotonic()
        own.process.send_signal(signal.SIGTERM)
        for line in half:
            heard = line.hear()
            assert (heard.status, heard.closed) == (503, True)
        assert time.monotonic() - began < 2
        heard = whole.hear()
        assert (heard.status, heard.body) == (200, b"whole")
        assert own.process.wait(6) == 0
    assert own.log() == "closed\n"


def test_a_stop_cuts_what_does_not_end(own: Slow) -> None:
    with RawConnection(own.port, wait_for("stripe", 30, "hangs")) as line:
        own.wait_until_started("hangs", 1)
        began = time.monotonic()
        own.process.send_signal(signal.SIGTERM)
        heard = line.hear()
        assert (heard.status, heard.code) == (503, "overloaded")
        assert "Idempotency-Key" in heard.json()["hint"]
        assert 7 < time.monotonic() - began < 10
        assert own.process.wait(5) == 0
    assert own.log() == "closed\n"


def test_a_process_whose_loop_ends_is_replaced(own: Slow) -> None:
    with RawConnection(own.port, request(f"POST {ECHO}", "X-Exit: 1")) as line:
        line.ends()
    wait_until(own.shop.is_well, seconds=10, what="another process answers")
    wait_until(lambda: "the event loop of a web process has ended" in own.log(), seconds=1, what="it is said")
    (own.shop.folder / "server.log").write_text("")


def test_a_view_that_raises_anything_at_all_costs_no_thread(own: Slow) -> None:
    for _ in range(THREADS + 1):
        heard = ask(own.port, request(f"GET {RAISES_EXIT}"), timeout=5)
        assert (heard.status, heard.code) == (500, "internal_error")
    assert own.log().count("SystemExit: on purpose") == THREADS + 1
    (own.shop.folder / "server.log").write_text("")
