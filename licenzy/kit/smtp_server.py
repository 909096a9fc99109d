"""The mail server of an installation, as its address names it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parseaddr
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from licenzy.kit.hosts import is_loopback

SMTP_FORM = (
    "must be smtp://user:password@host:587 or smtps://user:password@host:465, with special characters of the "
    "password percent-encoded, and user and password in ASCII"
)
"""What the address must be, for whoever gave another."""
_PORTS = {"smtp": 587, "smtps": 465}


class TlsUse(StrEnum):
    """How the connection to a mail server is encrypted."""

    FROM_THE_START = "from_the_start"
    STARTTLS = "starttls"
    """Nothing is sent to a server that does not offer it."""
    WHERE_OFFERED = "where_offered"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over, and how."""

    host: str
    port: int
    tls: TlsUse
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def smtp_server(url: str) -> SmtpServer | None:
    """The server that `smtp://user:password@host:587` or `smtps://…:465` names; None when it names none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not host or parts.path.rstrip("/") or parts.fragment or port == 0:
        return None
    if not url.isascii() or not url.isprintable() or " " in url or parts.query not in {"", "tls=off"}:
        return None
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    said = f"{user}{password}"
    # The library that speaks to the server sends neither in another form than ASCII.
    if (user is None) is not (password is None) or not said.isprintable() or not said.isascii():
        return None
    tls = _tls_use(parts.scheme, host, is_off=bool(parts.query))
    return None if tls is None else SmtpServer(host, port or _PORTS[parts.scheme], tls, user, password)


def sender_problem(text: str) -> str | None:
    """What is wrong with the address that mail comes from; None when it is good."""
    _name, address = parseaddr(text)
    local, _, domain = address.rpartition("@")
    is_address = bool(local) and bool(domain) and address.isascii() and " " not in address
    if not text.isprintable() or not is_address or "," in text:
        return "must be an e-mail address, such as licenzy@example.com or Licenzy <licenzy@example.com>"
    return None


def _tls_use(scheme: str, host: str, *, is_off: bool) -> TlsUse | None:
    if scheme == "smtps":
        return None if is_off else TlsUse.FROM_THE_START
    if is_off:
        return TlsUse.NONE
    return TlsUse.WHERE_OFFERED if is_loopback(host) else TlsUse.STARTTLS
