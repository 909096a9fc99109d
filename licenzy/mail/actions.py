"""Writing mail down, within the transaction of what it is about."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.mail.models import Mail

_MOST_OF_SUBJECT = 200


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


def bound_to(mail_id: str) -> str:
    """What the encrypted body of a mail is bound to."""
    return f"mail {mail_id} body"


def _one_line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_MOST_OF_SUBJECT]
