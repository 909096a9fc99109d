"""Bodies that are late, broken, too long or of no length: each is ended in its time, and holds nobody up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import Shop
from tests.server.raw import RawAnswer, RawConnection, ask, request
from tests.support.databases import SqliteFiles
from tests.support.installation import Running

pytestmark = pytest.mark.slow

LIMITS = {
    "/v1/access/check": (64 * 1024, 10),
    "/v1/usage/consume": (64 * 1024, 10),
    "/v1/checkout/session": (64 * 1024, 10),
    "/v1/webhooks/stripe/tenant": (1024 * 1024, 15),
    "/v1/webhooks/stripe/con_1": (1024 * 1024, 15),
    "/sign-in": (64 * 1024, 10),
    "/healthz": (64 * 1024, 10),
    "/nothing": (64 * 1024, 10),
}
"""Some of every door, how long its body may be, and how many seconds it may take."""
MOST_BYTES = {
    **{path: most for path, (most, _) in LIMITS.items()},
    "/projects/prj_1/test/imports/uploads": (20 * 1024 + 64) * 1024,
    "/projects/prj_1/test/imports": 64 * 1024,
    "/v1/uploads": 64 * 1024,
}
HALF_SENT = 120


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("web")
    shop = Shop(folder, sqlite_files.fresh(folder))
    running = shop.starts("web")
    try:
        running.wait_until_it_answers(shop.port)
        yield shop
        assert_it_says_nothing(running)
    finally:
        running.ends()


def assert_it_says_nothing(running: Running) -> None:
    assert running.process.poll() is None
    assert running.said() == ""


def seconds_of(shop: Shop) -> dict[str, float]:
    """How long a probe, a check and a page take."""
    took = {}
    calls: list[tuple[str, Callable[[], int]]] = [
        ("probe", lambda: httpx.get(f"{shop.url}/healthz", timeout=5).status_code),
        ("check", shop.checks),
        ("page", lambda: httpx.get(f"{shop.url}/sign-in", timeout=5).status_code),
    ]
    for name, call in calls:
        began = time.monotonic()
        assert call() == 200, name
        took[name] = time.monotonic() - began
    return took


def test_half_sent_bodies_keep_nobody_waiting(web: Shop) -> None:
    paths = list(islice(cycle(LIMITS), HALF_SENT))
    with ExitStack() as lines, ThreadPoolExecutor(HALF_SENT) as clients:
        halves = [
            lines.enter_context(
                RawConnection(web.port, request(f"POST {path}", body=b'{"subject', length=60_000))
            )
            for path in paths
        ]

        def hear(line: RawConnection) -> tuple[RawAnswer, float]:
            heard = line.hear()
            return heard, time.monotonic() - line.began

        told = clients.map(hear, halves)
        slowest: dict[str, float] = {}
        until = time.monotonic() + 16
        while time.monotonic() < until:
            for name, seconds in seconds_of(web).items():
                slowest[name] = max(slowest.get(name, 0.0), seconds)
            time.sleep(0.2)
        assert max(slowest.values()) < 2, slowest
        early = 0
        for path, (heard, seconds) in zip(paths, told, strict=True):
            assert (heard.status, heard.closed) == (408, True), path
            assert heard.headers["x-content-type-options"] == "nosniff"
            assert heard.code == ("request_timeout" if path.startswith(("/v1", "/healthz")) else "")
            assert seconds < LIMITS[path][1] + 2, path
            early += seconds < LIMITS[path][1] - 2
        # One address may have 64 of them.
        assert early == HALF_SENT - 64


def test_the_oldest_slow_body_of_an_address_goes_for_another_and_quick_ones_are_never_refused(
    web: Shop,
) -> None:
    half = request("POST /v1/access/check", body=b"{", length=100)
    with ExitStack() as lines:
        halves = [lines.enter_context(RawConnection(web.port, half)) for _ in range(64)]
        time.sleep(2)
        assert web.checks() == 200
        lines.enter_context(RawConnection(web.port, half))
        heard = halves[0].hear()
        assert (heard.status, heard.code) == (408, "request_timeout")
        assert time.monotonic() - halves[0].began < 6
        halves[1].socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            halves[1].hear()
        assert web.checks() == 200


def test_slow_bodies_make_room_for_quick_ones(web: Shop) -> None:
    """More of them are announced than a process holds; each address may have so many."""
    half = request("POST /v1/webhooks/stripe/con_1", body=b"{", length=1024 * 1024)
    with ExitStack() as lines:
        for _ in range(64):
            lines.enter_context(RawConnection(web.port, half))
        whole = request("POST /v1/webhooks/stripe/con_1", body=b"{}")
        refused = ask(web.port, whole)
        assert (refused.status, refused.code, refused.closed) == (503, "overloaded", True)
        assert int(refused.headers["retry-after"]) >= 1
        time.sleep(1.3)
        assert ask(web.port, whole).code == "signature_invalid"
        assert web.checks() == 200


@pytest.mark.parametrize("path", MOST_BYTES)
def test_a_body_over_its_limit_is_not_read(web: Shop, path: str) -> None:
    most = MOST_BYTES[path]
    headers = ("Content-Type: application/json",)
    with RawConnection(web.port, request(f"POST {path}", *headers, body=b"{", length=most + 1)) as line:
        heard = line.hear()
        assert (heard.status, heard.closed) == (413, True)
        assert heard.code == ("payload_too_large" if path.startswith(("/v1", "/healthz")) else "")
        assert line.ends() < 2
    assert ask(web.port, request(f"POST {path}", *headers, body=b" " * most)).status not in {0, 408, 413}


@pytest.mark.parametrize("path", LIMITS)
def test_a_body_without_a_length_is_not_read(web: Shop, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for chunks in (b"", b"2\r\n{}\r\n0\r\n\r\n"):
        heard = ask(web.port, head + chunks)
        assert (heard.status, heard.closed) == (413, True)


@pytest.mark.parametrize(
    "announced", ["Transfer-Encoding: chunked", f"Content-Length: {64 * 1024 + 2}"], ids=["chunked", "long"]
)
def test_who_sends_on_after_a_refusal_still_reads_it(web: Shop, announced: str) -> None:
    """A proxy that cannot send on tells its client 502, whatever it was answered."""
    pieces = [b"10001\r\n" + b" " * 0x10001 + b"\r\n", b"1\r\n \r\n", b"0\r\n\r\n"]
    if not announced.startswith("Transfer"):
        pieces = [b" " * 64 * 1024, b" ", b" "]
    head = f"POST /v1/access/check HTTP/1.1\r\nHost: 127.0.0.1\r\n{announced}\r\n\r\n".encode()
    for _ in range(5):
        with RawConnection(web.port, head) as line:
            for piece in pieces:
                time.sleep(0.05)
                line.socket.sendall(piece)
            heard = line.hear()
            assert (heard.status, heard.closed) == (413, True)
            assert line.ends() < 2


def send_on(line: RawConnection, *, seconds: float, pause: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line.send(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        time.sleep(pause)


def test_who_sends_on_for_ever_is_not_heard(web: Shop) -> None:
    head = b"POST /v1/access/check HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    for pause in (0.0, 0.1):
        with RawConnection(web.port, head) as line, pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on(line, seconds=10, pause=pause)


def test_a_body_that_breaks_off_is_no_request(web: Shop) -> None:
    body = b'{"subject_ref": "user_1", "units": 1}'
    sent = request(
        "POST /v1/usage/consume",
        f"Authorization: Bearer {web.token}",
        "Content-Type: application/json",
        "Idempotency-Key: broken",
        body=body,
        length=len(body) + 1,
    )
    for _ in range(20):
        RawConnection(web.port, sent).close()
    time.sleep(0.3)
    assert web.checks() == 200


def test_a_page_that_is_refused_in_front_is_a_page(web: Shop, tmp_path: Path) -> None:
    heard = ask(web.port, request("POST /sign-in", body=b"x", length=65_537))
    assert b"Request too large" in heard.body
    assert heard.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in heard.headers["content-security-policy"]
    notice = ask(web.port, request("POST /sign-in", "HX-Request: true", body=b"x", length=65_537))
    assert notice.headers["hx-retarget"] == "#notices"
    assert b"<html" not in notice.body
