"""One POST to an address that somebody else chose, without becoming their tool.

The name is resolved once, every address is checked, and the connection goes to exactly the address that
passed; TLS still asks for the name's certificate. No redirect is followed, no proxy and no environment
variable is heeded, nothing is decompressed, little of the answer is kept, and one deadline covers it all.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore

from licenzy.kit.addresses import may_be_reached
from licenzy.kit.deadline import standing_still

DEADLINE_SECONDS = 10.0
"""For everything together: the name, the connection, TLS, the request and the answer."""

KEPT_BYTES = 2048
"""How much of an answer's body is read; the connection is closed then."""

_MOST_READ = 128 * 1024
"""How much of an answer is taken in before its body has come: interim answers may go on without end."""

_MOST_ADDRESSES = 8
"""How many of a name's addresses are tried: a name with thousands shall not make us knock at all of them."""

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host name, as text. Raises OSError."""


class Unreachable(Exception):
    """No answer came; the message is one sentence that may be shown to whoever chose the address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered: the status, and the first bytes of the body as they came."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class OutboundHttp:
    """A sender with its rules. `resolve` and `tls` are for tests."""

    private_allowed: bool
    deadline: float = DEADLINE_SECONDS
    resolve: Resolve | None = None
    tls: ssl.SSLContext | None = None

    def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request and give the answer, whatever its status. Raises Unreachable."""
        until = time.monotonic() + self.deadline
        target, host = _target(url)
        backend = _Pinned(self.resolve or _system_resolve, self.private_allowed, until)
        tls = (self.tls or _public_tls()) if target.scheme == b"https" else None
        connection = httpcore.HTTPConnection(target.origin, ssl_context=tls, network_backend=backend)
        sent = [("Host", host), ("Content-Length", str(len(body))), *headers.items()]
        request = httpcore.Request("POST", target, headers=sent, content=body)
        try:
            with standing_still(), connection:
                return _read(connection.handle_request(request), until)
        except (httpcore.TimeoutException, TimeoutError):
            raise Unreachable(f"No answer arrived within {self.deadline:g} seconds.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise Unreachable(_worded(error)) from None
        except Exception as error:
            if isinstance(error, Unreachable):
                raise
            # Whatever else a stranger's server makes a library stumble over is a failure to deliver.
            raise Unreachable(f"The answer could not be read ({type(error).__name__}).") from None


def _target(url: str) -> tuple[httpcore.URL, str]:
    """The address in its parts, and what belongs in the Host header. Raises Unreachable."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("ascii")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = path.encode("ascii")
    except ValueError:
        host = b""
    if not host or parts.scheme not in {"http", "https"}:
        raise Unreachable("The address is not a valid URL.")
    named = f"[{host.decode()}]" if b":" in host else host.decode()
    return (
        httpcore.URL(scheme=parts.scheme.encode(), host=host, port=port, target=target),
        f"{named}:{port}" if port else named,
    )


def _read(response: httpcore.Response, until: float) -> Answer:
    """The answer with the first bytes of its body; a body that is slow or breaks off is cut there."""
    kept = b""
    try:
        for chunk in response.iter_stream():
            kept += chunk
            if len(kept) >= KEPT_BYTES or time.monotonic() >= until:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, Unreachable):
        pass  # The status has come, and it alone decides.
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Answer(response.status, headers, kept[:KEPT_BYTES])


class _Pinned(httpcore.NetworkBackend):
    """Connects to the addresses that passed the check, and to nothing else, until the deadline."""

    def __init__(self, resolve: Resolve, private_allowed: bool, until: float) -> None:
        self._resolve = resolve
        self._private_allowed = private_allowed
        self._until = until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        allowed = self._checked(host, port)
        trouble: OSError | None = None
        for number, address in enumerate(allowed):
            # The first addresses may be dead: each gets its share of what is left.
            share = _left(self._until) / (len(allowed) - number)
            try:
                sock = socket.create_connection((address, port), timeout=share)
            except OSError as error:
                trouble = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Stream(sock, self._until)
        assert trouble is not None
        if isinstance(trouble, TimeoutError):
            raise httpcore.ConnectTimeout(str(trouble))
        raise httpcore.ConnectError(trouble.strerror or "no route") from trouble

    def _checked(self, host: str, port: int) -> list[str]:
        found = _in_time(lambda: self._resolve(host, port), self._until)
        allowed = [
            address
            for address in dict.fromkeys(found)
            if may_be_reached(ip_address(address), private_allowed=self._private_allowed)
        ][:_MOST_ADDRESSES]
        if not allowed:
            raise Unreachable(
                "The host has a private, local or reserved address, which is not allowed."
                if found
                else "The host name has no address."
            )
        return allowed


class _Stream(httpcore.NetworkStream):
    """A connected socket whose every step is bounded by one deadline."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until
        self._may_read = _MOST_READ

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._sock.settimeout(_left(self._until))
            got = self._sock.recv(min(max_bytes, 16 * 1024))
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from None
        except OSError as error:
            raise httpcore.ReadError(_reason(error)) from error
        self._may_read -= len(got)
        if self._may_read < 0:
            raise httpcore.RemoteProtocolError("too much")
        return got

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        try:
            while view:
                self._sock.settimeout(_left(self._until))
                view = view[self._sock.send(view) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from None
        except OSError as error:
            raise httpcore.WriteError(_reason(error)) from error

    def close(self) -> None:
        with suppress(OSError):
            self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            # Python takes a socket's timeout for the whole of a handshake, not for each of its steps.
            self._sock.settimeout(_left(self._until))
            wrapped = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise httpcore.ConnectError(f"certificate: {error.verify_message}") from error
        except (OSError, ValueError) as error:
            self.close()
            if isinstance(error, TimeoutError) or time.monotonic() >= self._until:
                raise httpcore.ConnectTimeout("TLS") from None
            raise httpcore.ConnectError("TLS") from error
        return _Stream(wrapped, self._until)

    def get_extra_info(self, info: str) -> Any:
        return None


def _left(until: float) -> float:
    """Seconds until the deadline. Raises TimeoutError when it has passed."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


def _in_time(resolve: Callable[[], Sequence[str]], until: float) -> Sequence[str]:
    """The system's resolver knows no deadline, so that it works in a thread that may be left behind."""
    found: list[Sequence[str]] = []

    def work() -> None:
        with suppress(OSError, UnicodeError):
            found.append(resolve())

    thread = threading.Thread(target=work, daemon=True, name="resolve")
    thread.start()
    thread.join(_left(until))
    if thread.is_alive():
        raise httpcore.ConnectTimeout("the name was not resolved in time")
    if not found:
        raise Unreachable("The host name cannot be resolved.")
    return found[0]


def _system_resolve(host: str, port: int) -> Sequence[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(answer[4][0]) for answer in answers]


_making = threading.Lock()


def _public_tls() -> ssl.SSLContext:
    """Made once: reading the authorities takes long, and many threads ask for them at the same time."""
    with _making:
        return _made_tls()


@cache
def _made_tls() -> ssl.SSLContext:
    """The system's authorities and the usual public ones, where a machine has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _worded(error: Exception) -> str:
    text = str(error)
    if text.startswith("certificate: "):
        return f"The host's certificate is invalid: {text.removeprefix('certificate: ')}."
    if text == "TLS":
        return "The TLS handshake with the host failed."
    if "disconnected" in text:
        return "The connection was closed before an answer arrived."
    if isinstance(error, httpcore.ProtocolError):
        return "The answer is not valid HTTP."
    if isinstance(error, httpcore.ConnectError):
        return f"The connection failed: {text[:1].lower()}{text[1:]}."
    return "The connection was lost before an answer arrived."
