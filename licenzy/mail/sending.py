"""Sending mail that is due: one message at a time, leased so that several workers share the work."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.leases import is_free
from licenzy.db.reads import read_first
from licenzy.db.unit_of_work import Database
from licenzy.kit.backoff import Random, Schedule
from licenzy.kit.clock import Clock
from licenzy.kit.hosts import is_address
from licenzy.kit.lease import Lease
from licenzy.kit.repeats import Repeats
from licenzy.kit.secret_box import DecryptionFailed, SecretBox
from licenzy.kit.smtp_server import SmtpServer
from licenzy.mail.actions import bound_to
from licenzy.mail.models import Mail
from licenzy.mail.smtp import MailRefused, hand_over

LEASE = Lease(timedelta(minutes=3))
"""How long a worker has a message to itself: several times what one try may take."""

DELAYS = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=4),
    timedelta(hours=8),
    timedelta(hours=8),
)
"""After each failed try the wait before the next one: nine tries within about a day."""

TOO_OLD = timedelta(days=2)
"""A message that waited for longer, as while no mail server was set, is not sent any more."""

_SCHEDULE = Schedule(delays=DELAYS, jitter=(0.9, 1.1))
_failures = Repeats(600.0)
_log = logging.getLogger("licenzy.mail")


@dataclass(frozen=True, slots=True)
class MailSender:
    """What it takes to send mail."""

    database: Database
    secret_box: SecretBox
    server: SmtpServer
    sender: str
    host: str
    """The host of the public address, by which this machine introduces itself to the server."""
    clock: Clock
    random: Random = random.random

    @property
    def own_name(self) -> str:
        """The host, as a literal where it is an address."""
        if not is_address(self.host):
            return self.host
        return f"[IPv6:{self.host}]" if ":" in self.host else f"[{self.host}]"


@dataclass(frozen=True, slots=True)
class _MailClaim:
    """One try of one message, written down and ours to make."""

    mail_id: str
    to: str
    subject: str
    sealed: str
    created_at: datetime
    tries: int


def send_next(parts: MailSender) -> bool:
    """Send the message that has been due longest, or note why not; False when none is due.

    It only reads while none is due. A worker that dies after the server took a message, and before that is
    written down, has it sent once more: with the same Message-ID, by which mail programs show it once.
    """
    with parts.database.read() as db:
        if _due(db, now=parts.clock()) is None:
            return False
    claim = parts.database.retrying(lambda db: _claim(db, now=parts.clock()))
    if claim is None:
        return False
    problem, for_good = _try(parts, claim)
    parts.database.retrying(
        lambda db: _record(
            db, claim, problem=problem, for_good=for_good, random=parts.random, now=parts.clock()
        )
    )
    if problem is not None and (times := _failures.due(problem)):
        _log.warning("a mail could not be sent (%d times): %s", times, problem)
    return True


def _try(parts: MailSender, claim: _MailClaim) -> tuple[str | None, bool]:
    """What went wrong, and whether for good."""
    if parts.clock() - claim.created_at > TOO_OLD:
        return "It waited for more than two days.", True
    try:
        body = parts.secret_box.decrypt(claim.sealed, bound_to=bound_to(claim.mail_id))
    except DecryptionFailed:
        return "Its text cannot be decrypted with the encryption keys of this installation.", False
    try:
        hand_over(parts.server, _message(parts, claim, body), own_name=parts.own_name)
    except MailRefused as refusal:
        return str(refusal), refusal.for_good
    return None, False


def _message(parts: MailSender, claim: _MailClaim, body: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = parts.sender
    message["To"] = claim.to
    message["Subject"] = claim.subject
    message["Date"] = claim.created_at
    message["Message-ID"] = f"<{claim.mail_id}@{parts.own_name}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body)
    return message


@read_first
def _due(*, now: datetime) -> SelectOfScalar[str]:
    return select(Mail.id).where(*_is_due(now)).limit(1)


def _claim(db: Session, *, now: datetime) -> _MailClaim | None:
    mail = db.exec(
        select(Mail)
        .where(*_is_due(now))
        .order_by(col(Mail.next_try_at), col(Mail.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if mail is None or mail.body is None:
        return None
    mail.leased_until = LEASE.until(now)
    mail.tries += 1
    db.flush()
    return _MailClaim(mail.id, mail.to_email, mail.subject, mail.body, mail.created_at, mail.tries)


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Mail.sent_at).is_(None),
        col(Mail.dead_at).is_(None),
        col(Mail.next_try_at) <= now,
        is_free(col(Mail.leased_until), now),
    )


def _record(
    db: Session,
    claim: _MailClaim,
    *,
    problem: str | None,
    for_good: bool,
    random: Random,
    now: datetime,
) -> None:
    """Write the outcome down, unless another worker has taken the message over meanwhile."""
    wait = None if for_good else _SCHEDULE.delay(claim.tries, random)
    if problem is None:
        values: dict[str, object] = {"sent_at": now, "body": None}
    elif wait is None:
        values = {"dead_at": now, "body": None}
    else:
        values = {"next_try_at": now + wait}
    db.execute(
        update(Mail)
        .where(col(Mail.id) == claim.mail_id, col(Mail.tries) == claim.tries, col(Mail.sent_at).is_(None))
        .values(leased_until=None, problem=problem, **values)
    )
