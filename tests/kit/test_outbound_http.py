"""One POST to a stranger's address: never inwards, never longer than its deadline, never more than a bite."""

from __future__ import annotations

import gzip
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from licenzy.alignment.modes import Mode
from licenzy.deliveries.rules import url_problem
from licenzy.kit.outbound_http import Answer, OutboundHttp, Unreachable
from tests.kit.hostile import hostile_urls
from tests.support.certificates import write_certificate
from tests.support.receivers import OK, Receiver, Request, answering, read_request, receiver, status

STRICT = OutboundHttp(private_allowed=False)
HERE = OutboundHttp(private_allowed=True, deadline=2.0)
PUBLIC = "93.184.215.14"


def post(http: OutboundHttp, url: str) -> Answer:
    return http.post(url, body=b"{}", headers={"Content-Type": "application/json"})


@pytest.fixture
def listeners() -> Iterator[list[Receiver]]:
    """Listen to every address of this machine that a hostile URL could lead to."""
    with receiver(host="0.0.0.0") as four:
        six = socket.socket(socket.AF_INET6)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::", four.port))
        six.listen(64)
        six.settimeout(0)
        made = [four]
        yield made
        with pytest.raises(BlockingIOError):
            six.accept()
        six.close()


@pytest.fixture
def outward(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that a socket of this process is connected to."""
    seen: list[str] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            seen.append(address[0])
        if address[0] == PUBLIC:
            raise ConnectionRefusedError(111, "Connection refused")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


def test_more_than_300_hostile_addresses_are_never_connected_to(
    listeners: list[Receiver], outward: list[str]
) -> None:
    urls = hostile_urls(listeners[0].port)
    assert len(urls) >= 300
    for url in urls:
        with pytest.raises(Unreachable):
            post(STRICT, url)
    assert outward == []
    assert listeners[0].connections == 0


def test_the_listener_would_have_noticed(listeners: list[Receiver], outward: list[str]) -> None:
    port = listeners[0].port
    assert post(HERE, f"http://2130706433:{port}/").status == 200
    assert outward == ["127.0.0.1"]
    assert listeners[0].connections == 1


def test_what_can_be_told_without_asking_is_refused_when_it_is_saved() -> None:
    urls = [url.strip() for url in hostile_urls(8080)]
    saved = [url for url in urls if not url_problem(url, mode=Mode.TEST, private_allowed=False)]
    # Names are looked up when something is sent: what they lead to may change.
    assert set(saved) <= {
        "http://ip6-localhost:8080/",
        "http://ip6-loopback:8080/",
    }


@pytest.mark.parametrize(
    "inside",
    ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
)
def test_a_name_that_leads_inside_is_refused(inside: str, outward: list[str]) -> None:
    http = OutboundHttp(private_allowed=False, resolve=lambda _host, _port: [inside])
    with pytest.raises(Unreachable, match="private, local or reserved"):
        post(http, "http://internal.example.com/")
    assert outward == []


def test_a_name_that_changes_between_check_and_use_changes_nothing(
    listeners: list[Receiver], outward: list[str]
) -> None:
    asked: list[str] = []

    def resolve(_host: str, _port: int) -> list[str]:
        asked.append(_host)
        return [PUBLIC] if len(asked) % 2 else ["127.0.0.1"]

    http = OutboundHttp(private_allowed=False, resolve=resolve)
    for _ in range(20):
        with pytest.raises(Unreachable):
            post(http, f"http://rebind.example.com:{listeners[0].port}/")
    assert len(asked) == 20, "each delivery asks once"
    assert set(outward) == {PUBLIC}
    assert listeners[0].connections == 0


def test_of_several_addresses_only_the_allowed_are_tried(outward: list[str]) -> None:
    http = OutboundHttp(private_allowed=False, resolve=lambda _h, _p: ["127.0.0.1", PUBLIC, "::1"])
    with pytest.raises(Unreachable, match="connection refused"):
        post(http, "http://mixed.example.com/")
    assert set(outward) == {PUBLIC}


def test_a_name_with_thousands_of_addresses_does_not_make_us_knock_at_all(outward: list[str]) -> None:
    many = [f"127.0.{high}.{low}" for high in range(16) for low in range(1, 250)]
    http = OutboundHttp(private_allowed=True, resolve=lambda _h, _p: many)
    with receiver() as closed:
        pass
    with pytest.raises(Unreachable, match="connection refused"):
        post(http, f"http://many.example.com:{closed.port}/")
    assert 1 < len(outward) <= 8


def test_a_redirect_is_an_answer_and_nothing_else(listeners: list[Receiver]) -> None:
    with receiver(status(302, f"Location: http://127.0.0.1:{listeners[0].port}/")) as hook:
        answer = post(HERE, hook.url)
    assert answer.status == 302
    assert len(hook.requests) == 1
    assert listeners[0].connections == 0


def test_proxies_and_the_environment_are_not_heeded(
    listeners: list[Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listeners[0].port}")
    with receiver() as hook:
        assert post(HERE, hook.url).status == 200
    assert listeners[0].connections == 0


def test_what_is_sent_is_plain(outward: list[str]) -> None:
    with receiver() as hook:
        post(HERE, f"http://localhost:{hook.port}/a%20b?c=d&e")
    (request,) = hook.requests
    assert request.path == "/a%20b?c=d&e"
    assert request.headers["host"] == f"localhost:{hook.port}"
    assert request.body == b"{}"


def memory() -> int:
    """The most that this process ever had resident, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_an_endless_answer_is_cut_short() -> None:
    def endless(sock: socket.socket, _request: Request) -> None:
        sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {10 * 2**30}\r\n\r\n".encode())
        block = b"x" * 2**20
        for _ in range(10 * 2**10):
            sock.sendall(block)

    with receiver(endless) as hook:
        post(HERE, hook.url)
        before, began = memory(), time.monotonic()
        for _ in range(20):
            assert len(post(HERE, hook.url).body) == 2048
        assert time.monotonic() - began < 5
        assert memory() - before < 10 * 2**20


def test_a_bomb_is_not_opened() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with receiver(status(200, "Content-Encoding: gzip", body=bomb)) as hook:
        before = memory()
        assert post(HERE, hook.url).body == bomb[:2048]
        assert memory() - before < 10 * 2**20


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize("head", [b"", _HEAD, b"HTTP/1.1 200 OK\r\nX: "])
def test_a_byte_a_moment_does_not_hold_the_sender(head: bytes) -> None:
    def drip(sock: socket.socket, _request: Request) -> None:
        sock.sendall(head)
        while True:
            sock.sendall(b"x")
            time.sleep(0.05)

    http = OutboundHttp(private_allowed=True, deadline=1.0)
    with receiver(drip) as hook:
        began = time.monotonic()
        if head == _HEAD:
            assert post(http, hook.url).status == 200, "what has come by then decides"
        else:
            with pytest.raises(Unreachable, match=r"within 1 seconds|not valid HTTP"):
                post(http, hook.url)
        assert time.monotonic() - began < 2


def test_a_receiver_that_takes_and_never_answers() -> None:
    with receiver(lambda sock, _request: time.sleep(5)) as hook:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="No answer arrived within 1 seconds"):
            post(OutboundHttp(private_allowed=True, deadline=1.0), hook.url)
        assert time.monotonic() - began < 2


def test_a_resolver_that_hangs_does_not_hold_the_sender() -> None:
    def hang(_host: str, _port: int) -> list[str]:
        time.sleep(3)
        return [PUBLIC]

    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"within 0\.5 seconds"):
        post(OutboundHttp(private_allowed=False, deadline=0.5, resolve=hang), "http://slow.example.com/")
    assert time.monotonic() - began < 1.5


def test_interim_answers_without_end_are_cut_short() -> None:
    def more(sock: socket.socket, _request: Request) -> None:
        while True:
            sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)

    with receiver(more) as hook:
        began = time.process_time(), time.monotonic()
        with pytest.raises(Unreachable, match="not valid HTTP"):
            post(HERE, hook.url)
        took = time.process_time() - began[0], time.monotonic() - began[1]
    assert max(took) < HERE.deadline / 2


def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 50
    with receiver(answering(interim + OK)) as hook:
        assert post(HERE, hook.url) == Answer(200, {"content-length": "2", "connection": "close"}, b"ok")


def test_headers_without_end_are_cut_short() -> None:
    def chatter(sock: socket.socket, _request: Request) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            sock.sendall(b"X-More: " + b"y" * 8000 + b"\r\n")

    with receiver(chatter) as hook, pytest.raises(Unreachable):
        post(HERE, hook.url)


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for hooks.example.com that signs itself, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    write_certificate(path, x509.DNSName("hooks.example.com"))
    return path


@pytest.fixture
def secure(authority: Path) -> Iterator[tuple[int, list[str | None]]]:
    """A receiver that speaks TLS; its port, and the names it was asked for."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _address = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(raw, server_side=True) as sock:
                    if read_request(sock) is not None:
                        sock.sendall(OK)
            except OSError:
                pass  # The sender does not take the certificate.

    import threading

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], asked
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def trusting(authority: Path) -> OutboundHttp:
    return OutboundHttp(
        private_allowed=True,
        resolve=lambda _host, _port: ["127.0.0.1"],
        tls=ssl.create_default_context(cafile=str(authority)),
    )


def test_the_certificate_is_that_of_the_name(secure: tuple[int, list[str | None]], authority: Path) -> None:
    port, asked = secure
    assert post(trusting(authority), f"https://hooks.example.com:{port}/").status == 200
    assert asked == ["hooks.example.com"]


@pytest.mark.parametrize("host", ["other.example.com", "127.0.0.1"])
def test_a_certificate_of_another_name_is_refused(
    secure: tuple[int, list[str | None]], authority: Path, host: str
) -> None:
    with pytest.raises(Unreachable, match="certificate is invalid"):
        post(trusting(authority), f"https://{host}:{secure[0]}/")


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: tuple[int, list[str | None]]) -> None:
    http = OutboundHttp(private_allowed=True, resolve=lambda _host, _port: ["127.0.0.1"])
    with pytest.raises(Unreachable, match="certificate is invalid"):
        post(http, f"https://hooks.example.com:{secure[0]}/")


def test_a_handshake_that_never_ends_does_not_hold_the_sender(authority: Path) -> None:
    with receiver(answering(b"")) as hook:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            OutboundHttp(private_allowed=True, deadline=1.0).post(
                f"https://127.0.0.1:{hook.port}/", body=b"", headers={}
            )
        assert time.monotonic() - began < 2
