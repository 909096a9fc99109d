"""Mail over TLS: certificates that are trusted, and what is said of those that are not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from licenzy.kit.smtp_server import TlsUse
from licenzy.mail.sending import send_next
from licenzy.runtime import Runtime
from tests.mail.test_sending import only_mail, queue, sender_of
from tests.support.certificates import write_certificate
from tests.support.mail_servers import mail_server

HERE = x509.IPAddress(ip_address("127.0.0.1"))


@pytest.mark.parametrize("tls", [TlsUse.STARTTLS, TlsUse.FROM_THE_START])
def test_mail_waits_until_the_certificate_is_trusted(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: TlsUse
) -> None:
    certificate = tmp_path / "server.pem"
    write_certificate(certificate, HERE)
    queue(runtime)
    with mail_server(certificate=certificate, tls=tls) as box:
        sender = sender_of(runtime, replace(box.server, tls=tls))
        assert send_next(sender)
        kept = only_mail(runtime.database)
        assert kept.problem == (
            "The certificate of 127.0.0.1 is not trusted: self-signed certificate. Add the authority "
            "that issued it to those that this machine trusts."
        )
        assert (kept.body is None, kept.sent_at, kept.dead_at) == (False, None, None)
        assert box.taken == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert send_next(replace(sender, clock=lambda: kept.next_try_at))
        assert [each["To"] for each in box.taken] == ["anna@example.com"]
        assert only_mail(runtime.database).problem is None


@pytest.mark.parametrize(
    ("name", "days", "problem"),
    [
        (
            x509.DNSName("mail.example.com"),
            2,
            "The certificate of 127.0.0.1 is not valid: IP address mismatch, certificate is not valid for "
            "'127.0.0.1'. Use a name that the certificate has in LICENZY_SMTP_URL.",
        ),
        (
            HERE,
            -1,
            "The certificate of 127.0.0.1 is not valid: certificate has expired. Renew the certificate on "
            "the mail server.",
        ),
    ],
)
def test_a_certificate_that_is_not_valid(
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: x509.GeneralName,
    days: int,
    problem: str,
) -> None:
    certificate = tmp_path / "server.pem"
    write_certificate(certificate, name, days=days)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    queue(runtime)
    with mail_server(certificate=certificate) as box:
        assert send_next(sender_of(runtime, replace(box.server, tls=TlsUse.STARTTLS)))
        assert only_mail(runtime.database).problem == problem
        assert box.taken == []
