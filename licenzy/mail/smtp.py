"""Handing one message to a mail server, within bounded time."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from email.message import EmailMessage

from licenzy.kit.smtp_server import SmtpServer, TlsUse

WAIT_SECONDS = 10.0
"""How long each single wait for the server may take: for a connection, for an answer."""
TOTAL_SECONDS = 45.0
"""How long everything together may take; a server that answers byte by byte is cut off then."""

_NO_LONGER_VALID = 500
_MOST_OF_PROBLEM = 300
_ISSUER_UNKNOWN = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's X509_V_ERR_ codes of an issuer that is not found, and of certificates that sign themselves."""
_OTHER_NAME = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class MailRefused(Exception):
    """The message was not taken, in words for the operator. `for_good`: it never will be."""

    def __init__(self, problem: str, *, for_good: bool = False) -> None:
        super().__init__(problem)
        self.for_good = for_good


def hand_over(
    server: SmtpServer, message: EmailMessage, *, own_name: str, total_seconds: float = TOTAL_SECONDS
) -> None:
    """Hand the message to the server. Raises MailRefused."""
    cut = _CutOff(total_seconds)
    try:
        with cut, _connected(server, own_name, cut) as smtp:
            smtp.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = next(iter(error.recipients.values()))
        raise MailRefused(_answered(code, answer), for_good=code >= _NO_LONGER_VALID) from None
    except smtplib.SMTPResponseException as error:
        raise MailRefused(_answered(error.smtp_code, error.smtp_error)) from None
    except smtplib.SMTPServerDisconnected:
        waited = (
            f"did not finish within {total_seconds:g} seconds" if cut.happened else "ended the connection"
        )
        raise MailRefused(f"The mail server {waited}.") from None
    except ssl.SSLCertVerificationError as error:
        raise MailRefused(_distrusted(server, error)) from None
    except smtplib.SMTPNotSupportedError as error:
        raise MailRefused(f"The mail server cannot take it: {_cleaned(str(error))}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise MailRefused(_unreachable(error)) from None


class _CutOff:
    """Ends a connection from beside when its time is up, whatever whoever uses it waits for."""

    def __init__(self, seconds: float) -> None:
        self.happened = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._guard = threading.Lock()
        self._same: socket.socket | None = None

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        with self._guard:
            if self._same is not None:
                self._same.close()
                self._same = None

    def watch(self, connection: socket.socket) -> socket.socket:
        """Take note of a connection that was made. TLS replaces the object, and never the connection."""
        with self._guard:
            if self._same is not None:
                self._same.close()
            self._same = socket.socket(fileno=os.dup(connection.fileno()))
        return connection

    def _end(self) -> None:
        with self._guard:
            self.happened = True
            if self._same is not None:
                with suppress(OSError):
                    self._same.shutdown(socket.SHUT_RDWR)


class _Watched(smtplib.SMTP):
    """A connection that can be cut off from the moment it is made."""

    def __init__(self, server: SmtpServer, own_name: str, cut: _CutOff) -> None:
        self._cut = cut
        super().__init__(server.host, server.port, own_name, timeout=WAIT_SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        return self._cut.watch(connection)


class _WatchedTls(smtplib.SMTP_SSL, _Watched):
    """The same, encrypted from its first byte."""

    def __init__(self, server: SmtpServer, own_name: str, cut: _CutOff) -> None:
        self._cut = cut
        context = ssl.create_default_context()
        smtplib.SMTP_SSL.__init__(
            self, server.host, server.port, own_name, timeout=WAIT_SECONDS, context=context
        )


def _connected(server: SmtpServer, own_name: str, cut: _CutOff) -> smtplib.SMTP:
    if server.tls is TlsUse.FROM_THE_START:
        smtp: smtplib.SMTP = _WatchedTls(server, own_name, cut)
    else:
        smtp = _Watched(server, own_name, cut)
    try:
        _introduce(smtp, server)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _introduce(smtp: smtplib.SMTP, server: SmtpServer) -> None:
    smtp.ehlo_or_helo_if_needed()
    offered = smtp.has_extn("starttls")
    if server.tls is TlsUse.STARTTLS and not offered:
        raise MailRefused(
            "The mail server does not offer STARTTLS, so nothing was sent to it. Use smtps://, or add "
            "?tls=off to LICENZY_SMTP_URL where the network is yours."
        )
    if server.tls is TlsUse.STARTTLS or (server.tls is TlsUse.WHERE_OFFERED and offered):
        smtp.starttls(context=_context(server))
        smtp.ehlo()
    if server.user is not None and server.password is not None:
        smtp.login(server.user, server.password)


def _context(server: SmtpServer) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if server.tls is TlsUse.WHERE_OFFERED:
        # A server of this machine: nobody is in between, and its certificate is commonly one of its own.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _distrusted(server: SmtpServer, error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the server's certificate, and what the operator does about it."""
    what = "not trusted" if error.verify_code in _ISSUER_UNKNOWN else "not valid"
    if error.verify_code in _ISSUER_UNKNOWN:
        fix = "Add the authority that issued it to those that this machine trusts"
    elif error.verify_code in _OTHER_NAME:
        fix = "Use a name that the certificate has in LICENZY_SMTP_URL"
    else:
        fix = "Renew the certificate on the mail server"
    reason = _cleaned(error.verify_message).rstrip(".")
    return f"The certificate of {server.host} is {what}: {reason}. {fix}."


def _answered(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"The mail server answered {code}: {_cleaned(text)}"


def _unreachable(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"The mail server did not answer within {WAIT_SECONDS:g} seconds."
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"The mail server cannot be used: {_cleaned(reason)}"


def _cleaned(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_MOST_OF_PROBLEM]
