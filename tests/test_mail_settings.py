"""Settings of mail: which server they name, and what is refused with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from licenzy.kit.smtp_server import SmtpServer, TlsUse
from licenzy.settings import SettingsError
from tests.test_settings import load

FROM = "Licenzy <licenzy@example.com>"


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", SmtpServer("mail.example.com", 587, TlsUse.STARTTLS)),
        ("smtp://mail.example.com:25/?tls=off", SmtpServer("mail.example.com", 25, TlsUse.NONE)),
        ("smtp://127.0.0.1:1025", SmtpServer("127.0.0.1", 1025, TlsUse.WHERE_OFFERED)),
        ("smtp://localhost", SmtpServer("localhost", 587, TlsUse.WHERE_OFFERED)),
        (
            "smtps://me%40example.com:p%40ss%2Fword@mail.example.com",
            SmtpServer("mail.example.com", 465, TlsUse.FROM_THE_START, "me@example.com", "p@ss/word"),
        ),
    ],
)
def test_the_mail_server(tmp_path: Path, url: str, server: SmtpServer) -> None:
    settings = load(tmp_path, SMTP_URL=url, MAIL_FROM=FROM)
    assert (settings.smtp, settings.mail_from) == (server, FROM)
    assert "word" not in repr(settings)


def test_without_a_mail_server_there_is_no_mail(tmp_path: Path) -> None:
    settings = load(tmp_path, MAIL_FROM=FROM)
    assert (settings.smtp, settings.mail_from) == (None, "")


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com:587",
        "https://mail.example.com",
        "smtp://",
        "smtp://mail.example.com:port",
        "smtp://mail.example.com:0",
        "smtp://mail.example.com/path",
        "smtp://mail.example.com?tls=on",
        "smtps://mail.example.com?tls=off",
        "smtp://user@mail.example.com",
        "smtp://user:a%0Db@mail.example.com",
        "smtp://user:p%C3%A4ss@mail.example.com",
        "smtp://mail.example.com evil",
    ],
)
def test_another_address_is_refused_in_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"^LICENZY_SMTP_URL must be smtp://[^.]+\.$"):
        load(tmp_path, SMTP_URL=url, MAIL_FROM=FROM)


@pytest.mark.parametrize(
    "sender", ["", "nobody", "a@", "@b.com", "a@b.com, c@d.com", "a@b.com\nBcc: c@d.com"]
)
def test_mail_must_come_from_an_address(tmp_path: Path, sender: str) -> None:
    with pytest.raises(SettingsError, match=r"^LICENZY_MAIL_FROM must be [^\n]+\.$"):
        load(tmp_path, SMTP_URL="smtp://mail.example.com", MAIL_FROM=sender)
