"""Pure decisions about people: passwords, e-mail addresses, how long a sign-in lasts, how often to try."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Literal

from email_validator import EmailNotValidError, validate_email

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


def password_problem(password: str, *, common: Container[str], context: Iterable[str] = ()) -> str | None:
    """Why this password cannot be taken, in one sentence; None when it can.

    Length is the only demand on its form: any Unicode, spaces included, is taken unchanged. `common` are
    passwords that are refused, in lower case; `context` are words an attacker would try first, such as the
    person's name.
    """
    if len(password) < PASSWORD_MIN:
        return f"Use at least {PASSWORD_MIN} characters. A few unrelated words work well."
    if len(password) > PASSWORD_MAX:
        return f"Use at most {PASSWORD_MAX} characters."
    if any("\ud800" <= char <= "\udfff" for char in password):
        return "This text cannot be stored: it is not valid Unicode."
    folded = password.casefold()
    if folded in common or len(set(folded)) < 3:
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


def normal_email(text: str) -> str | None:
    """The address in the form it is stored and compared in, or None when it is not one."""
    try:
        parts = validate_email(text.strip(), check_deliverability=False)
    except EmailNotValidError:
        return None
    # Mail programs, and the library that sends our mail, would read `=?…?=` as another, encoded address.
    return None if "=?" in parts.local_part else parts.normalized.lower()


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


def password_stamp(password_hash: str) -> str:
    """What a known device's cookie says of the password it was given with; another password, another stamp.

    The hash has a salt of 128 random bits, so nothing about the password can be found out from it.
    """
    return token_hash(password_hash)[:32]


@dataclass(frozen=True, slots=True)
class Limit:
    """How often passwords may be tried: in any `window` the first `burst` tries without waiting, further
    ones `apart` from the one before, and no more than `most` in all.

    Right passwords use nothing up. Tries that are refused are not counted, so waiting always helps.
    """

    burst: int
    apart: timedelta
    most: int
    window: timedelta

    def recent(self, tries: Iterable[datetime], *, now: datetime) -> list[datetime]:
        """Those of the tries that still count, oldest first; never more than `most` are of interest."""
        return sorted(each for each in tries if now - each < self.window)[-self.most :]

    def wait(self, tries: Iterable[datetime], *, now: datetime) -> timedelta:
        """How long until one more may be made; zero when it may be made now."""
        recent = self.recent(tries, now=now)
        if len(recent) < self.burst:
            return timedelta()
        free_at = recent[-1] + self.apart
        if len(recent) == self.most:
            free_at = max(free_at, recent[0] + self.window)
        # Requests overtake each other: one may find a try that is later than itself.
        return max(free_at - max(now, recent[-1]), timedelta())


ACCOUNT_LIMIT = Limit(burst=5, apart=timedelta(minutes=1), most=60, window=timedelta(hours=1))
"""For one account, from all devices that are not known for it together.

No window of an hour ever holds more than 60 tries, the burst included: a 61st would need the first of the
60 before it to be an hour old. One waits a minute at the most, with one exception that arithmetic demands:
60 tries an hour with waits of a minute leave no room for a burst, so who makes the burst of 5 and then
uses every single minute has used up the hour after 55 of them, and waits for its last 5 minutes, once.
"""

ADDRESS_LIMIT = Limit(burst=60, apart=timedelta(seconds=1), most=100, window=timedelta(minutes=1))
"""For one network address, from all devices that are not known together.

It only bounds what the server spends on hashing: an office shares one address, so it is wide, is over
after seconds, and cannot tell unknown accounts from known ones. What protects an account is its own limit.
"""

OWN_LIMIT = Limit(burst=20, apart=timedelta(minutes=1), most=60, window=timedelta(hours=1))
"""For one known device, and for one session that asks for the password again: what only a thief of the
cookie could use up."""

RESET_LIMIT = Limit(burst=3, apart=timedelta(minutes=15), most=6, window=timedelta(hours=6))
"""For one address that links to reset a password are asked for: who has it is not flooded with mail."""

RESET_ADDRESS_LIMIT = Limit(burst=10, apart=timedelta(minutes=1), most=60, window=timedelta(hours=1))
"""For one network address, from which such links are asked for."""
SECOND_FACTOR_LIMIT = Limit(burst=5, apart=timedelta(minutes=5), most=60, window=timedelta(days=1))
"""For the codes of one account's second step, which only who has its password may try.

At any time three codes of a million are right: who has the password and tries 60 times a day, every day of a
year, finds one with a probability of less than 7 percent, and each try is in the audit log. A device that is
known for the account has a limit of its own, so whoever tries elsewhere does not keep its owner waiting.
"""

DEVICE_LIFE = timedelta(days=365)
"""How long a device is known after signing in."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """A limit applied to one thing."""

    key: str
    """A hash that stands for the thing in the database."""
    limit: Limit
    of: Literal["account", "address", "device", "session", "reset", "reset_address", "second_factor"]
    about: str
    """The thing's name for the audit log."""


def account_throttle(email: str) -> Throttle:
    """By what was typed: an account that does not exist is throttled like one that does."""
    return Throttle(token_hash(f"account:{email}"), ACCOUNT_LIMIT, "account", email[:200])


def address_throttle(ip: str | None) -> Throttle:
    """By network: one customer of a provider has a whole /64 of IPv6 addresses."""
    network = network_of(ip)
    return Throttle(token_hash(f"address:{network}"), ADDRESS_LIMIT, "address", network)


def device_throttle(device_id: str, email: str) -> Throttle:
    """By known device, each of which is known for one account."""
    return Throttle(token_hash(f"device:{device_id}"), OWN_LIMIT, "device", email[:200])


def session_throttle(session_id: str) -> Throttle:
    """By session that asks its person for the password again."""
    return Throttle(token_hash(f"session:{session_id}"), OWN_LIMIT, "session", session_id)


def reset_throttle(email: str) -> Throttle:
    """By what was typed: an address without an account is throttled like one that has one."""
    return Throttle(token_hash(f"reset:{email}"), RESET_LIMIT, "reset", email[:200])


def reset_address_throttle(ip: str | None) -> Throttle:
    """By network, as sign-ins are."""
    network = network_of(ip)
    return Throttle(token_hash(f"reset_address:{network}"), RESET_ADDRESS_LIMIT, "reset_address", network)


def second_factor_throttle(user_id: str, device_id: str | None = None) -> Throttle:
    """By account, for codes of its second step; by known device, where the browser is one."""
    key = token_hash(f"second factor:{user_id}:{device_id or ''}")
    return Throttle(key, SECOND_FACTOR_LIMIT, "second_factor", user_id)


def passkey_throttle(ip: str | None) -> Throttle:
    """By network, for sign-ins with passkeys that are begun: nobody is known yet."""
    network = network_of(ip)
    return Throttle(token_hash(f"passkeys:{network}"), ADDRESS_LIMIT, "address", network)


def network_of(ip: str | None) -> str:
    """The network that an address is counted as: IPv4 addresses one by one, IPv6 addresses by their /64."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return (ip or "unknown")[:200]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((address.packed, 64), strict=False))
    return str(address)


def wait_in_words(seconds: int) -> str:
    """A time to wait, rounded up: `1 second`, `42 seconds`, `2 minutes`."""
    if seconds <= 60:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    return f"{-(-seconds // 60)} minutes"
