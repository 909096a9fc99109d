"""Pure decisions about people: passwords, e-mail addresses, how long a sign-in lasts, how often to try."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from email_validator import EmailNotValidError, validate_email

from licenzy.kit.clock import from_micros, to_micros

PASSWORD_MIN = 8
PASSWORD_MAX = 128
NAME_MAX = 80

SESSION_LIFE = timedelta(days=30)
SESSION_IDLE = timedelta(days=3)
SEEN_EVERY = timedelta(minutes=5)
"""How stale "last seen" may be; it spares a write on nearly every page."""
FRESH_FOR = timedelta(minutes=30)
"""How long after giving the password credentials may be changed."""

_PRODUCT = "licenzy"
_COMMON = Path(__file__).with_name("common_passwords.txt")


def password_problem(password: str, *, context: Iterable[str] = ()) -> str | None:
    """Why this password cannot be taken, in one sentence; None when it can.

    Length is the only demand on its form: any Unicode, spaces included, is taken unchanged. `context`
    are words an attacker would try first, such as the person's name.
    """
    if len(password) < PASSWORD_MIN:
        return f"Use at least {PASSWORD_MIN} characters. A few unrelated words work well."
    if len(password) > PASSWORD_MAX:
        return f"Use at most {PASSWORD_MAX} characters."
    if any("\ud800" <= char <= "\udfff" for char in password):
        return "This text cannot be stored: it is not valid Unicode."
    folded = password.casefold()
    if folded in common_passwords() or len(set(folded)) < 3:
        return "This is one of the most common passwords. Choose one that nobody else would think of."
    if _is_mostly_context(folded, context):
        return "This is too close to a name that anybody could guess. Choose something unrelated."
    return None


def _is_mostly_context(folded: str, context: Iterable[str]) -> bool:
    """Whether fewer than eight characters remain once the guessable words are taken out."""
    words = {part for text in (_PRODUCT, *context) for part in (text.casefold(), *text.casefold().split())}
    rest = folded
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= 4:
            rest = rest.replace(word, "")
    return rest != folded and len(rest) < PASSWORD_MIN


@cache
def common_passwords() -> frozenset[str]:
    """The shipped list of common passwords, in lower case; read once per process."""
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line.casefold() for line in lines if line and not line.startswith("#"))


def normal_email(text: str) -> str | None:
    """The address in the form it is stored and compared in, or None when it is not one."""
    try:
        parts = validate_email(text.strip(), check_deliverability=False)
    except EmailNotValidError:
        return None
    return parts.normalized.lower()


def same_token(expected: str, given: str) -> bool:
    """Whether the two are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def token_hash(token: str) -> str:
    """What the database holds of a random token: SHA-256 in hex. Enough for 128 random bits and more."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_over(
    *, last_seen_at: datetime, expires_at: datetime, revoked_at: datetime | None, now: datetime
) -> bool:
    """Whether a sign-in session no longer counts: ended, too old, or idle for too long."""
    return revoked_at is not None or now >= expires_at or now - last_seen_at >= SESSION_IDLE


def is_fresh(authenticated_at: datetime, *, now: datetime) -> bool:
    """Whether the password was given recently enough to change credentials."""
    return now - authenticated_at < FRESH_FOR


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most `most` failed tries within each window of `window` for one key."""

    key: str
    most: int
    window: timedelta

    def number(self, now: datetime) -> int:
        """Which window `now` falls into."""
        return to_micros(now) // (self.window // timedelta(microseconds=1))

    def ends_at(self, now: datetime) -> datetime:
        """When the window of `now` is over."""
        return from_micros((self.number(now) + 1) * (self.window // timedelta(microseconds=1)))


def throttles(email: str, ip: str | None, *, familiar: bool) -> list[Throttle]:
    """The counters that one try to sign in uses up.

    `familiar` says that this person signed in from this address before. Such tries have a counter of
    their own, so that strangers who guess at an account cannot keep its owner out.
    """
    account = f"account:{email}:{ip}" if familiar else f"account:{email}"
    return [
        Throttle(token_hash(f"ip:{ip}"), most=20, window=timedelta(hours=1)),
        Throttle(token_hash(account), most=20, window=timedelta(days=1)),
    ]
