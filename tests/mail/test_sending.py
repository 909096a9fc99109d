"""Sending mail: what arrives, when a failed try is made again, and what is left of it, on both databases."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage

import pytest
from sqlmodel import select

from licenzy.db.unit_of_work import Database
from licenzy.kit.repeats import Repeats
from licenzy.kit.secret_box import SecretBox
from licenzy.kit.smtp_server import SmtpServer, TlsUse
from licenzy.mail import sending, smtp
from licenzy.mail.actions import queue_mail
from licenzy.mail.models import Mail
from licenzy.mail.sending import DELAYS, LEASE, TOO_OLD, MailSender, send_next
from licenzy.mail.smtp import MailRefused, hand_over
from licenzy.runtime import Runtime
from licenzy.worker.loop import run_job
from tests.support.clock import StandingClock
from tests.support.mail_servers import PASSWORD, USER, Mailbox, mail_server, scripted_server
from tests.support.statements import statements_sent

BODY = "Hello Anna,\n\nhttps://licenzy.example.com/invitations/a-token\n\nÜnïcode.\n"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


def sender_of(runtime: Runtime, server: SmtpServer) -> MailSender:
    sender = "Licenzy <licenzy@example.com>"
    return MailSender(
        runtime.database, runtime.secret_box, server, sender, "127.0.0.1", runtime.clock, lambda: 0.5
    )


def queue(runtime: Runtime, *, to: str = "anna@example.com", subject: str = "An invitation") -> None:
    with runtime.database.write() as db:
        queue_mail(db, runtime.secret_box, to=to, subject=subject, body=BODY, now=runtime.clock())


def only_mail(database: Database) -> Mail:
    with database.read() as db:
        return db.exec(select(Mail)).one()


def test_a_mail_arrives_once_and_its_text_is_gone(runtime: Runtime, mailbox: Mailbox) -> None:
    queue(runtime)
    stored = only_mail(runtime.database)
    assert stored.body is not None
    assert "a-token" not in stored.body
    sender = sender_of(runtime, mailbox.server)
    assert [send_next(sender), send_next(sender)] == [True, False]
    (message,) = mailbox.taken
    assert (message["To"], message["From"]) == ("anna@example.com", "Licenzy <licenzy@example.com>")
    assert (message["Subject"], message.get_content_type()) == ("An invitation", "text/plain")
    assert message.get_content().replace("\r\n", "\n") == BODY
    assert message["Message-ID"] == f"<{stored.id}@[127.0.0.1]>"
    sent = only_mail(runtime.database)
    assert (sent.sent_at, sent.body, sent.problem, sent.leased_until) == (runtime.clock(), None, None, None)


def test_after_a_month_it_is_removed(runtime: Runtime, mailbox: Mailbox, clock: StandingClock) -> None:
    queue(runtime)
    assert send_next(sender_of(runtime, mailbox.server))
    clock.advance(days=29)
    queue(runtime, to="ben@example.com")
    assert run_job(runtime, "forget old mail") == 0
    clock.advance(days=1)
    assert run_job(runtime, "forget old mail") == 1
    assert only_mail(runtime.database).to_email == "ben@example.com"


def test_nothing_in_a_subject_becomes_a_header(runtime: Runtime, mailbox: Mailbox) -> None:
    queue(runtime, subject="Join\r\nBcc: victim@example.com\n\u2028evil")
    assert send_next(sender_of(runtime, mailbox.server))
    (message,) = mailbox.taken
    assert message["Subject"] == "Join Bcc: victim@example.com evil"
    assert message["Bcc"] is None
    assert mailbox.envelopes[0].rcpt_tos == ["anna@example.com"]


def test_idle_it_only_reads(runtime: Runtime, mailbox: Mailbox) -> None:
    sender = sender_of(runtime, mailbox.server)
    with statements_sent() as seen:
        assert not send_next(sender)
    assert [each.split()[0].upper() for each in seen.taken() if "mails" in each] == ["SELECT"]
    assert not [each for each in seen.taken() if each.split()[0].upper() in {"UPDATE", "INSERT", "DELETE"}]


def test_the_worker_sends_where_a_server_is_set(runtime: Runtime, mailbox: Mailbox) -> None:
    queue(runtime)
    assert run_job(runtime, "send mail") == 0
    settings = replace(runtime.settings, smtp=mailbox.server, mail_from="licenzy@example.com")
    assert run_job(replace(runtime, settings=settings), "send mail") == 1
    assert len(mailbox.taken) == 1


def test_a_refused_mail_is_tried_for_about_a_day_and_then_is_dead(
    runtime: Runtime,
    mailbox: Mailbox,
    clock: StandingClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "_failures", Repeats(600.0))
    mailbox.answer_to_text = "451 come back\tlater"
    queue(runtime)
    began = clock.now
    with caplog.at_level(logging.WARNING, "licenzy.mail"):
        for wait in DELAYS:
            assert send_next(sender_of(runtime, mailbox.server))
            mail = only_mail(runtime.database)
            assert mail.next_try_at == clock.now + wait
            assert mail.problem == "The mail server answered 451: come back later"
            assert mail.body is not None
            assert not send_next(sender_of(runtime, mailbox.server))
            clock.now = mail.next_try_at
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "anna" not in caplog.text
    assert timedelta(hours=20) < clock.now - began < timedelta(hours=28)
    assert send_next(sender_of(runtime, mailbox.server))
    dead = only_mail(runtime.database)
    assert (dead.dead_at, dead.body, dead.tries) == (clock.now, None, len(DELAYS) + 1)
    clock.advance(days=3)
    assert not send_next(sender_of(runtime, mailbox.server))


def test_a_recipient_that_is_refused_for_good_is_not_tried_again(runtime: Runtime, mailbox: Mailbox) -> None:
    mailbox.answer_to_recipients = "550 no such mailbox"
    queue(runtime)
    assert send_next(sender_of(runtime, mailbox.server))
    dead = only_mail(runtime.database)
    assert (dead.dead_at, dead.body) == (runtime.clock(), None)
    assert dead.problem == "The mail server answered 550: no such mailbox"


def test_a_mail_that_waited_for_days_is_not_sent(
    runtime: Runtime, mailbox: Mailbox, clock: StandingClock
) -> None:
    queue(runtime)
    clock.now += TOO_OLD + timedelta(minutes=1)
    assert send_next(sender_of(runtime, mailbox.server))
    assert mailbox.taken == []
    assert only_mail(runtime.database).body is None


def test_another_encryption_key_is_a_problem_that_may_end(runtime: Runtime, mailbox: Mailbox) -> None:
    with runtime.database.write() as db:
        other = SecretBox(["zLoyvPh6tCFbGKgBAIbYaGoFoxYMjpAdVVYkQ5YcUVk="])
        queue_mail(db, other, to="anna@example.com", subject="Hello", body=BODY, now=runtime.clock())
    assert send_next(sender_of(runtime, mailbox.server))
    waiting = only_mail(runtime.database)
    assert (waiting.dead_at, waiting.body is None) == (None, False)


def test_of_two_workers_one_has_the_mail_until_its_lease_ends(
    runtime: Runtime, mailbox: Mailbox, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(runtime)
    sender = sender_of(runtime, mailbox.server)

    def meanwhile(server: SmtpServer, message: EmailMessage, *, own_name: str) -> None:
        assert not send_next(sender)
        clock.now = LEASE.until(clock.now)
        monkeypatch.setattr(sending, "hand_over", hand_over)
        assert send_next(sender)
        raise MailRefused("The one whose lease ended comes late with a failure.")

    monkeypatch.setattr(sending, "hand_over", meanwhile)
    assert send_next(sender)
    sent = only_mail(runtime.database)
    assert (sent.sent_at, sent.problem, sent.tries) == (clock.now, None, 2)
    assert len(mailbox.taken) == 1


MESSAGE = EmailMessage()
MESSAGE["To"], MESSAGE["From"] = "anna@example.com", "licenzy@example.com"
MESSAGE.set_content("Hello.")


UNENCRYPTED = pytest.mark.filterwarnings("ignore:Requiring AUTH while", "ignore:Session.login_data is")


@UNENCRYPTED
def test_a_password_is_given_where_the_server_asks() -> None:
    with mail_server(password=True) as box:
        hand_over(replace(box.server, user=USER, password=PASSWORD), MESSAGE, own_name="localhost")
        assert len(box.taken) == 1
        with pytest.raises(MailRefused, match="answered 535") as refusal:
            hand_over(replace(box.server, user=USER, password="wrong one"), MESSAGE, own_name="localhost")
        assert "wrong one" not in str(refusal.value)
        assert not refusal.value.for_good


@UNENCRYPTED
def test_nothing_is_sent_unencrypted_to_another_machine() -> None:
    with mail_server(password=True) as box:
        server = replace(box.server, tls=TlsUse.STARTTLS, user=USER, password=PASSWORD)
        with pytest.raises(MailRefused, match="does not offer STARTTLS"):
            hand_over(server, MESSAGE, own_name="localhost")
        assert box.taken == []
        with pytest.raises(MailRefused, match="cannot be used"):
            hand_over(replace(server, tls=TlsUse.FROM_THE_START), MESSAGE, own_name="localhost")


def test_a_server_that_is_not_there() -> None:
    with scripted_server() as server:
        pass
    with pytest.raises(MailRefused, match="The mail server cannot be used: Connection refused"):
        hand_over(server, MESSAGE, own_name="localhost")


@pytest.mark.parametrize("lines", [(), (b"220 hello",), (b"220 hello", b"250 ok", b"250 ok")])
def test_a_server_that_is_silent(lines: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "WAIT_SECONDS", 0.3)
    began = time.monotonic()
    with scripted_server(*lines) as server, pytest.raises(MailRefused, match=r"did not answer|ended"):
        hand_over(server, MESSAGE, own_name="localhost")
    assert time.monotonic() - began < 5


def test_a_server_that_answers_byte_by_byte_is_cut_off() -> None:
    began = time.monotonic()
    with (
        scripted_server(b"220 hello", then_drip=True) as server,
        pytest.raises(MailRefused, match=r"did not finish within 0\.5 seconds"),
    ):
        hand_over(server, MESSAGE, own_name="localhost", total_seconds=0.5)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((b"220 hello", b"250 ok"), "ended the connection"),
        ((b"421 too busy",), "answered 421: too busy"),
        ((b"nonsense",), "cannot|answered"),
    ],
)
def test_a_server_that_goes_away_or_talks_nonsense(lines: tuple[bytes, ...], problem: str) -> None:
    with scripted_server(*lines, then_close=True) as server, pytest.raises(MailRefused, match=problem):
        hand_over(server, MESSAGE, own_name="localhost")
