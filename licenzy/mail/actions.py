"""Writing mail down, within the transaction of what it is about."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import Session, col, select

from licenzy.db.unit_of_work import Database
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.mail.models import Mail

KEPT = timedelta(days=30)
"""How long it can be looked up whether a message was sent. Unsent ones are too old for it long before."""

_MOST_OF_SUBJECT = 200
_MOST_FORGOTTEN = 500


def queue_mail(
    db: Session, secret_box: SecretBox, *, to: str, subject: str, body: str, now: datetime
) -> None:
    """Have this plain text mailed once the transaction is committed.

    `to` is an address in normal form. Whatever stands in `subject` stays on one line, so that nothing in it
    becomes a header.
    """
    mail_id = new_id("mal")
    db.add(
        Mail(
            id=mail_id,
            to_email=to,
            subject=_one_line(subject),
            body=secret_box.encrypt(body, bound_to=bound_to(mail_id)),
            created_at=now,
            next_try_at=now,
        )
    )
    db.flush()


def forget_old_mail(database: Database, *, now: datetime) -> int:
    """Remove mail that was written longer ago than KEPT, whatever became of it, some at a time; how many."""
    with database.read() as db:
        # Ids rise with time.
        oldest = db.exec(select(Mail.created_at).order_by(col(Mail.id)).limit(1)).first()
    if oldest is None or oldest > now - KEPT:
        return 0
    return database.retrying(lambda db: _forget_some(db, now - KEPT))


def _forget_some(db: Session, until: datetime) -> int:
    first = select(Mail.id, Mail.created_at).order_by(col(Mail.id)).limit(_MOST_FORGOTTEN)
    ids = [mail_id for mail_id, created_at in db.exec(first) if created_at <= until]
    db.execute(delete(Mail).where(col(Mail.id).in_(ids)))
    return len(ids)


def bound_to(mail_id: str) -> str:
    """What the encrypted body of a mail is bound to."""
    return f"mail {mail_id} body"


def _one_line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_MOST_OF_SUBJECT]
