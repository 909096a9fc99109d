"""Links that work once: an address with a random token, of which only the hash is stored."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session

from licenzy.kit.secret_box import SecretBox
from licenzy.mail.actions import queue_mail
from licenzy.settings import Settings
from licenzy.workspace import rules


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link at the one moment that it is known."""

    url: str = field(repr=False)
    token_hash: str
    mailed: bool
    """Whether it is mailed, too."""


@dataclass(frozen=True, slots=True)
class Links:
    """What it takes to make such links, and to mail them where a mail server is set."""

    base_url: str
    secret_box: SecretBox
    mailed: bool

    def make(self, page: str) -> NewLink:
        """A new link below a page such as `invitations`."""
        token = secrets.token_urlsafe(32)
        return NewLink(f"{self.base_url}/{page}/{token}", rules.token_hash(token), self.mailed)

    def mail(self, db: Session, *, to: str, subject: str, body: str, now: datetime) -> None:
        """Mail it, where a mail server is set."""
        if self.mailed:
            queue_mail(db, self.secret_box, to=to, subject=subject, body=body, now=now)


def links_for(settings: Settings, secret_box: SecretBox) -> Links:
    """The links of an installation."""
    return Links(settings.base_url, secret_box, settings.smtp is not None)
