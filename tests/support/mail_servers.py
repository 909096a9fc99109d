"""Mail servers on this machine: one that takes mail, and those that do it as badly as they can."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from licenzy.kit.smtp_server import SmtpServer, TlsUse
from tests.support.ports import free_port_pair

USER, PASSWORD = "postmaster", "p@ss word"


@dataclass
class Mailbox:
    """What a server took, and the answer that it gives instead of taking more."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    answer_to_recipients: str | None = None
    answer_to_text: str | None = None

    @property
    def server(self) -> SmtpServer:
        return SmtpServer("127.0.0.1", self.port, TlsUse.WHERE_OFFERED)

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if self.answer_to_recipients is not None:
            return self.answer_to_recipients
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        if self.answer_to_text is not None:
            return self.answer_to_text
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        self.envelopes.append(envelope)
        return "250 OK"


@contextmanager
def mail_server(
    *, password: bool = False, certificate: Path | None = None, tls: TlsUse = TlsUse.STARTTLS
) -> Iterator[Mailbox]:
    """A real SMTP server; with `password` it takes mail of `USER` with `PASSWORD` alone.

    With a certificate, and its key in the same file, it takes nothing without TLS.
    """
    box = Mailbox(port=free_port_pair())

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    asks: dict[str, Any] = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    options = asks if password else {}
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        from_the_start = tls is TlsUse.FROM_THE_START
        options |= {"ssl_context": context} if from_the_start else {"tls_context": context}
        options |= {"require_starttls": not from_the_start}
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


@contextmanager
def scripted_server(*lines: bytes, then_drip: bool = False, then_close: bool = False) -> Iterator[SmtpServer]:
    """Says one line for each that it hears, the first unasked; then it is silent, drips bytes, or goes."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    with connection, suppress(OSError):
                        _say(connection, lines, ended, drip=then_drip, close=then_close)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield SmtpServer("127.0.0.1", listener.getsockname()[1], TlsUse.NONE)
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _say(
    connection: socket.socket, lines: tuple[bytes, ...], ended: threading.Event, *, drip: bool, close: bool
) -> None:
    for number, line in enumerate(lines):
        if number and not connection.recv(4096):
            return
        connection.sendall(line + b"\r\n")
    while drip and not ended.wait(0.02):
        connection.sendall(b"2")
    if not close:
        ended.wait(60)
