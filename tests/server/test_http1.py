"""What the server speaks: HTTP/1.1, and nothing else that a client might try."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.server.conftest import Shop
from tests.support.databases import SqliteFiles

pytestmark = pytest.mark.slow

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
HTTP1_HEAD = "Host: 127.0.0.1\r\n"
STREAMS = 24
"""More than there are threads, of any process that is started here."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles) -> Iterator[Shop]:
    """One for all of these tests: whatever was tried, it goes on."""
    folder = tmp_path_factory.mktemp("web")
    shop = Shop(folder, sqlite_files.fresh(folder))
    running = shop.starts("web")
    try:
        running.wait_until_it_answers(shop.port)
        yield shop
        assert running.process.poll() is None, running.said()
    finally:
        running.ends()


def said(port: int, *sent: bytes) -> bytes:
    """What comes back within a second, or until the server closes."""
    heard = b""
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)) as connection:
        for each in sent:
            connection.sendall(each)
        while more := connection.recv(65_536):
            heard += more
    return heard


def upgrade(to: str, *more: str) -> bytes:
    lines = (f"Upgrade: {to}\r\n", *(f"{line}\r\n" for line in more), "\r\n")
    return ("GET /healthz HTTP/1.1\r\n" + HTTP1_HEAD + "".join(lines)).encode()


def test_http_2_by_prior_knowledge_is_refused(web: Shop) -> None:
    heard = said(web.port, PREFACE, SETTINGS)
    assert not heard or heard.startswith(b"HTTP/1.1 4"), heard
    assert web.is_well()


def test_an_upgrade_to_http_2_is_ignored(web: Shop) -> None:
    sent = upgrade("h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")
    assert said(web.port, sent, PREFACE + SETTINGS).startswith(b"HTTP/1.1 200 OK\r\n")
    assert web.is_well()


def test_an_upgrade_to_a_websocket_is_ignored(web: Shop) -> None:
    sent = upgrade(
        "websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert said(web.port, sent).startswith(b"HTTP/1.1 200 OK\r\n")
    assert web.is_well()


def test_half_sent_streams_of_http_2_hold_nothing(web: Shop) -> None:
    streams = (half_a_request(2 * number + 1, web.token) for number in range(STREAMS))
    said(web.port, PREFACE, SETTINGS, *streams)
    for _ in range(10):
        assert web.is_well()
        assert web.checks() == 200


def half_a_request(stream: int, token: str) -> bytes:
    """A HEADERS frame of a POST that announces a body, of which nothing comes."""
    block = b"\x83\x86"  # :method POST, :scheme http
    block += literal(4, "/v1/access/check") + literal(1, "127.0.0.1")
    block += literal(28, "100") + literal(31, "application/json") + literal(23, f"Bearer {token}")
    end_headers = 4
    return len(block).to_bytes(3, "big") + bytes([1, end_headers]) + stream.to_bytes(4, "big") + block


def literal(name: int, value: str) -> bytes:
    """A header by the number of its name in HPACK's table, not to be remembered."""
    index = bytes([name]) if name < 15 else bytes([15, name - 15])
    return index + bytes([len(value)]) + value.encode()
